output "role_arn" {
  description = "For the annotation eks.amazonaws.com/role-arn of deploy/kubernetes/serviceaccount.yaml."
  value       = aws_iam_role.dredge.arn
}

output "stream_arn" {
  value = aws_kinesis_stream.flows.arn
}

output "format" {
  description = "For pipeline.formats."
  value       = join(" ", var.fields)
}
