variable "application" {
  description = "kinesis.application: the name of the lease table and of the roles."
  type        = string
  default     = "dredge"
}

variable "stream_name" {
  description = "kinesis.stream_name."
  type        = string
  default     = "vpc-flow-logs"
}

variable "retention_hours" {
  description = "How long the stream keeps records: the time that an outage may last without loss."
  type        = number
  default     = 72
}

variable "log_group" {
  description = "The log group of the flow log, as pipeline.formats names it."
  type        = string
  default     = "/vpc/flow-logs"
}

variable "vpc_id" {
  description = "The VPC whose traffic is logged."
  type        = string
}

variable "fields" {
  description = "The flow log's fields, in order; the format in pipeline.formats."
  type        = list(string)
  default = [
    "version", "account-id", "interface-id", "srcaddr", "dstaddr", "srcport", "dstport", "protocol", "packets", "bytes", "start", "end", "action", "log-status",
    "vpc-id", "subnet-id", "instance-id", "tcp-flags", "type", "pkt-srcaddr", "pkt-dstaddr", "region", "az-id", "sublocation-type", "sublocation-id",
    "pkt-src-aws-service", "pkt-dst-aws-service", "flow-direction", "traffic-path",
  ]
}

variable "oidc_provider_arn" {
  description = "The EKS cluster's OIDC provider."
  type        = string
}

variable "namespace" {
  description = "The Kubernetes namespace of the service account dredge."
  type        = string
  default     = "dredge"
}

variable "read_role_arns" {
  description = "Roles in other accounts that identity.ec2 and identity.ecs assume, and those of streams with a role."
  type        = list(string)
  default     = []
}

variable "change_queue_arns" {
  description = "SQS queues of EC2 and ECS changes (identity.ec2.queue_url, identity.ecs.queue_url)."
  type        = list(string)
  default     = []
}
