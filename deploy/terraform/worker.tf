# The role that dredge runs as. Nobody but the service account of one namespace may assume it.

resource "aws_iam_role" "dredge" {
  name               = var.application
  assume_role_policy = data.aws_iam_policy_document.dredge_trust.json
}

data "aws_iam_policy_document" "dredge_trust" {
  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]
    principals {
      type        = "Federated"
      identifiers = [var.oidc_provider_arn]
    }
    condition {
      test     = "StringEquals"
      variable = "${local.oidc_issuer}:sub"
      values   = ["system:serviceaccount:${var.namespace}:dredge"]
    }
    condition {
      test     = "StringEquals"
      variable = "${local.oidc_issuer}:aud"
      values   = ["sts.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy" "dredge" {
  role   = aws_iam_role.dredge.id
  policy = data.aws_iam_policy_document.dredge.json
}

data "aws_iam_policy_document" "dredge" {
  statement {
    sid       = "ReadStream"
    actions   = ["kinesis:ListShards", "kinesis:GetShardIterator", "kinesis:GetRecords", "kinesis:DescribeStreamSummary", "kinesis:RegisterStreamConsumer"]
    resources = [aws_kinesis_stream.flows.arn]
  }

  statement {
    sid       = "FanOut"
    actions   = ["kinesis:SubscribeToShard", "kinesis:DescribeStreamConsumer"]
    resources = ["${aws_kinesis_stream.flows.arn}/consumer/*"]
  }

  statement {
    sid       = "Decrypt"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.flows.arn]
  }

  statement {
    sid       = "Leases"
    actions   = ["dynamodb:DescribeTable", "dynamodb:Scan", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"]
    resources = [aws_dynamodb_table.leases.arn]
  }

  # Each worker asks whether the application has gone to KCL 3.x; its 3.0 to 3.4 say so in a table of their own. That table need not exist.
  statement {
    sid       = "ClientVersion"
    actions   = ["dynamodb:GetItem"]
    resources = ["arn:aws:dynamodb:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}:table/${var.application}-CoordinatorState"]
  }

  # These list; EC2 and ECS have no narrower resources for them.
  statement {
    sid = "Identity"
    actions = [
      "ec2:DescribeNetworkInterfaces",
      "ec2:DescribeInstances",
      "ec2:DescribeVpcs",
      "ec2:DescribeSubnets",
      "ec2:DescribeVpcPeeringConnections",
      "ec2:DescribeTransitGatewayAttachments",
      "ec2:SearchTransitGatewayRoutes",
      "ec2:DescribeManagedPrefixLists",
      "ec2:GetManagedPrefixListEntries",
      "ec2:DescribeFlowLogs",
      "ecs:ListClusters",
      "ecs:ListTasks",
      "ecs:DescribeTasks",
      "ecs:DescribeContainerInstances",
    ]
    resources = ["*"]
  }

  dynamic "statement" {
    for_each = length(var.read_role_arns) > 0 ? [1] : []
    content {
      sid       = "OtherAccounts"
      actions   = ["sts:AssumeRole"]
      resources = var.read_role_arns
    }
  }

  dynamic "statement" {
    for_each = length(var.change_queue_arns) > 0 ? [1] : []
    content {
      sid       = "Changes"
      actions   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
      resources = var.change_queue_arns
    }
  }
}
