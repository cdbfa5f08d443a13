package s3

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// Object is one file in S3, as a notification or a listing tells of it.
type Object struct {
	Bucket string `json:"b"`
	Key    string `json:"k"`
	// Version is the version id; empty in a bucket without versions.
	Version string `json:"v,omitempty"`
	// ETag tells versions apart where there is no version id. It has no quotes.
	ETag string `json:"e,omitempty"`
	// Size is in bytes, as the file lies in S3.
	Size int64 `json:"s"`
	// Time is when the file was written, as far as known.
	Time time.Time `json:"t,omitzero"`
}

// ID names this content of this key: the partition of its rows, and its place in the ledger. It is the same however the file was
// announced and whichever mouthful it is read in.
func (o Object) ID() string {
	id := "s3://" + o.Bucket + "/" + o.Key
	switch {
	case o.Version != "":
		return id + "?versionId=" + o.Version
	case o.ETag != "":
		return id + "#" + o.ETag
	}
	return id
}

// maxLedgerKey is what a partition key of DynamoDB may have, less our prefix.
const maxLedgerKey = 2000

// ledgerKey is the id of the object's item in the ledger.
func (o Object) ledgerKey() string {
	id := o.ID()
	if len(id) > maxLedgerKey {
		sum := sha256.Sum256([]byte(id))
		return filePrefix + "sha256:" + hex.EncodeToString(sum[:])
	}
	return filePrefix + id
}

// Why an object that was announced is no flow log: values of the label "reason".
const (
	skipEmpty  = "empty"  // of no bytes: folder markers, access checks
	skipSuffix = "suffix" // its name ends in none of the suffixes
	skipOther  = "other_service"
	skipPrefix = "prefix" // outside of the prefixes
)

// foreign says why o is no flow log by its name and size; "" when it may be one.
func (c GatherConfig) foreign(o Object) string {
	switch {
	case o.Size == 0 || strings.HasSuffix(o.Key, "/"):
		return skipEmpty
	case len(c.Prefixes) > 0 && !hasAny(o.Key, c.Prefixes, strings.HasPrefix):
		return skipPrefix
	case !hasAny(o.Key, c.Suffixes, strings.HasSuffix):
		return skipSuffix
	}
	// CloudTrail, load balancers and others deliver below AWSLogs, too.
	if _, below, ok := strings.Cut("/"+o.Key, "/AWSLogs/"); ok && !strings.Contains(below, "/vpcflowlogs/") && !strings.Contains(below, "aws-service=vpcflowlogs/") {
		return skipOther
	}
	return ""
}

func hasAny(s string, list []string, has func(s, part string) bool) bool {
	for _, part := range list {
		if has(s, part) {
			return true
		}
	}
	return false
}

// How files are kept apart: values of GatherConfig.GroupBy.
const (
	GroupNone    = "none"
	GroupBucket  = "bucket"
	GroupPrefix  = "prefix"
	GroupAccount = "account"
)

// group is what files must have in common to share a mouthful.
func (o Object) group(by string) string {
	switch by {
	case GroupBucket:
		return o.Bucket
	case GroupPrefix:
		before, _, ok := strings.Cut("/"+o.Key, "/AWSLogs/")
		if !ok {
			before = before[:strings.LastIndexByte(before, '/')]
		}
		return o.Bucket + before
	case GroupAccount:
		return accountOf(o.Key)
	}
	return ""
}

// accountOf is the account in a key as AWS writes it; empty when there is none.
func accountOf(key string) string {
	_, below, ok := strings.Cut("/"+key, "/AWSLogs/")
	if !ok {
		return ""
	}
	account, _, _ := strings.Cut(strings.TrimPrefix(below, "aws-account-id="), "/")
	if len(account) != 12 || strings.Trim(account, "0123456789") != "" {
		return ""
	}
	return account
}
