# Flow logs in S3, as docs/s3.md describes them: bucket, flow log, the queue that S3 announces files in, the mouthful queue, the ledger, and a
# policy to attach to the role that dredge runs as (the one of the folder above, for example).
#
#   terraform init && terraform apply -var vpc_id=vpc-... -var bucket=my-flow-logs

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.40"
    }
  }
}

resource "aws_s3_bucket" "flows" {
  bucket = var.bucket
}

resource "aws_s3_bucket_public_access_block" "flows" {
  bucket                  = aws_s3_bucket.flows.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# Files are kept for longer than any outage, and for backfills.
resource "aws_s3_bucket_lifecycle_configuration" "flows" {
  bucket = aws_s3_bucket.flows.id

  rule {
    id     = "expire"
    status = "Enabled"
    filter {}

    expiration {
      days = var.keep_days
    }
  }
}

resource "aws_flow_log" "flows" {
  vpc_id                   = var.vpc_id
  traffic_type             = "ALL"
  log_destination_type     = "s3"
  log_destination          = aws_s3_bucket.flows.arn
  max_aggregation_interval = 60
  log_format               = var.log_format

  destination_options {
    file_format                = var.file_format
    per_hour_partition         = true
    hive_compatible_partitions = false
  }
}

# What S3 announces. Fourteen days is the most there is: how long gatherers may be away.
resource "aws_sqs_queue" "files" {
  name                      = "${var.name}-files"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.files_dead.arn
    maxReceiveCount     = 10
  })
}

resource "aws_sqs_queue" "files_dead" {
  name                      = "${var.name}-files-dead"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}

data "aws_iam_policy_document" "announce" {
  statement {
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.files.arn]

    principals {
      type        = "Service"
      identifiers = ["s3.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_s3_bucket.flows.arn]
    }
  }
}

resource "aws_sqs_queue_policy" "files" {
  queue_url = aws_sqs_queue.files.id
  policy    = data.aws_iam_policy_document.announce.json
}

resource "aws_s3_bucket_notification" "flows" {
  bucket = aws_s3_bucket.flows.id

  queue {
    queue_arn     = aws_sqs_queue.files.arn
    events        = ["s3:ObjectCreated:*"]
    filter_prefix = "AWSLogs/"
  }

  depends_on = [aws_sqs_queue_policy.files]
}

# From gatherers to workers. A mouthful that is being read is met again by others, so it has no dead-letter queue.
resource "aws_sqs_queue" "mouthfuls" {
  name                       = "${var.name}-mouthfuls"
  message_retention_seconds  = 1209600
  visibility_timeout_seconds = 120
  sqs_managed_sse_enabled    = true
}

# The ledger, with the key, the index and the expiry that dredge would give it.
resource "aws_dynamodb_table" "ledger" {
  name         = "${var.name}-ledger"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "id"

  attribute {
    name = "id"
    type = "S"
  }

  attribute {
    name = "unsent"
    type = "S"
  }

  global_secondary_index {
    name            = "unsent-index"
    hash_key        = "unsent"
    range_key       = "id"
    projection_type = "KEYS_ONLY"
  }

  ttl {
    attribute_name = "expires"
    enabled        = true
  }
}

data "aws_iam_policy_document" "dredge" {
  statement {
    sid       = "ReadFiles"
    actions   = ["s3:GetObject", "s3:GetObjectVersion"]
    resources = ["${aws_s3_bucket.flows.arn}/*"]
  }

  statement {
    sid       = "Backfill"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.flows.arn]
  }

  statement {
    sid       = "TakeMessages"
    actions   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"]
    resources = [aws_sqs_queue.files.arn, aws_sqs_queue.mouthfuls.arn]
  }

  statement {
    sid       = "SendMouthfuls"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.mouthfuls.arn]
  }

  statement {
    sid       = "Ledger"
    actions   = ["dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:Query"]
    resources = [aws_dynamodb_table.ledger.arn, "${aws_dynamodb_table.ledger.arn}/index/*"]
  }
}

resource "aws_iam_policy" "dredge" {
  name   = "${var.name}-s3"
  policy = data.aws_iam_policy_document.dredge.json
}
