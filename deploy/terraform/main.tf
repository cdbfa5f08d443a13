# A whole path for one region, as an example to take from: flow logs of a VPC -> CloudWatch Logs -> Kinesis, the lease table, and the role
# that dredge runs as on EKS (IRSA).
#
#   terraform init && terraform apply -var vpc_id=vpc-... -var oidc_provider_arn=arn:aws:iam::...:oidc-provider/oidc.eks....
#
# The role's policy is that of docs/consumer.md and docs/sources.md, narrowed to the stream and the table made here.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.40"
    }
  }
}

data "aws_caller_identity" "current" {}
data "aws_region" "current" {}

locals {
  oidc_issuer = replace(var.oidc_provider_arn, "/^.*oidc-provider//", "")
}

# The stream. On demand, so that nobody has to count shards at first; dredge follows every reshard.
resource "aws_kinesis_stream" "flows" {
  name             = var.stream_name
  retention_period = var.retention_hours
  encryption_type  = "KMS"
  kms_key_id       = aws_kms_key.flows.arn

  stream_mode_details {
    stream_mode = "ON_DEMAND"
  }
}

resource "aws_kms_key" "flows" {
  description         = "flow logs in ${var.stream_name}"
  enable_key_rotation = true
}

# The lease table, with the key that Amazon's KCL uses. dredge would make it itself; here it needs no permission to.
resource "aws_dynamodb_table" "leases" {
  name         = var.application
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "leaseKey"

  attribute {
    name = "leaseKey"
    type = "S"
  }

  point_in_time_recovery {
    enabled = true
  }
}

# The flow log. Fields and their order are the format that pipeline.formats must say; more fields mean more that can be known.
resource "aws_cloudwatch_log_group" "flows" {
  name              = var.log_group
  retention_in_days = 1
}

resource "aws_flow_log" "vpc" {
  vpc_id                   = var.vpc_id
  traffic_type             = "ALL"
  log_destination_type     = "cloud-watch-logs"
  log_destination          = aws_cloudwatch_log_group.flows.arn
  iam_role_arn             = aws_iam_role.flow_log.arn
  max_aggregation_interval = 60
  log_format               = join(" ", [for f in var.fields : "$${${f}}"])
}

resource "aws_iam_role" "flow_log" {
  name               = "${var.application}-flow-log"
  assume_role_policy = data.aws_iam_policy_document.flow_log_trust.json
}

data "aws_iam_policy_document" "flow_log_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["vpc-flow-logs.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

resource "aws_iam_role_policy" "flow_log" {
  role   = aws_iam_role.flow_log.id
  policy = data.aws_iam_policy_document.flow_log.json
}

data "aws_iam_policy_document" "flow_log" {
  statement {
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogGroups", "logs:DescribeLogStreams"]
    resources = ["${aws_cloudwatch_log_group.flows.arn}:*"]
  }
}

# The subscription: CloudWatch Logs writes compressed envelopes into the stream. Random spreads them over the shards.
resource "aws_cloudwatch_log_subscription_filter" "flows" {
  name            = var.application
  log_group_name  = aws_cloudwatch_log_group.flows.name
  filter_pattern  = ""
  destination_arn = aws_kinesis_stream.flows.arn
  role_arn        = aws_iam_role.subscription.arn
  distribution    = "Random"
  depends_on      = [aws_iam_role_policy.subscription]
}

resource "aws_iam_role" "subscription" {
  name               = "${var.application}-subscription"
  assume_role_policy = data.aws_iam_policy_document.subscription_trust.json
}

data "aws_iam_policy_document" "subscription_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["logs.amazonaws.com"]
    }
    condition {
      test     = "StringLike"
      variable = "aws:SourceArn"
      values   = ["arn:aws:logs:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}:*"]
    }
  }
}

resource "aws_iam_role_policy" "subscription" {
  role   = aws_iam_role.subscription.id
  policy = data.aws_iam_policy_document.subscription.json
}

data "aws_iam_policy_document" "subscription" {
  statement {
    actions   = ["kinesis:PutRecord", "kinesis:PutRecords"]
    resources = [aws_kinesis_stream.flows.arn]
  }
  statement {
    actions   = ["kms:GenerateDataKey"]
    resources = [aws_kms_key.flows.arn]
  }
}
