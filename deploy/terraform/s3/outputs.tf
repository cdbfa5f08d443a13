output "configuration" {
  description = "What to write into dredge's configuration file."
  value       = <<-EOT
    s3:
      ledger_table: ${aws_dynamodb_table.ledger.name}
      mouthful_queue: ${aws_sqs_queue.mouthfuls.url}
      gather:
        queue: ${aws_sqs_queue.files.url}
  EOT
}

output "policy_arn" {
  description = "To attach to the role that dredge runs as."
  value       = aws_iam_policy.dredge.arn
}
