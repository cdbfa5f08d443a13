variable "bucket" {
  type        = string
  description = "Name of the bucket that is made for the files."
}

variable "vpc_id" {
  type        = string
  description = "The VPC whose flows are logged."
}

variable "name" {
  type        = string
  default     = "dredge"
  description = "Begins the names of queues, ledger and policy."
}

variable "keep_days" {
  type        = number
  default     = 90
  description = "Days for which files are kept."
}

variable "file_format" {
  type        = string
  default     = "plain-text"
  description = "plain-text or parquet."

  validation {
    condition     = contains(["plain-text", "parquet"], var.file_format)
    error_message = "Write plain-text or parquet."
  }
}

variable "log_format" {
  type        = string
  default     = "$${version} $${account-id} $${interface-id} $${srcaddr} $${dstaddr} $${srcport} $${dstport} $${protocol} $${packets} $${bytes} $${start} $${end} $${action} $${log-status} $${vpc-id} $${subnet-id} $${instance-id} $${tcp-flags} $${type} $${pkt-srcaddr} $${pkt-dstaddr} $${region} $${az-id} $${pkt-src-aws-service} $${pkt-dst-aws-service} $${flow-direction} $${traffic-path}"
  description = "Fields of the flow log. Files of text name them in their first line, Parquet in its columns, so dredge needs no format for them."
}
