package s3

import (
	"errors"
	"net/http"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// Why a file could not be read: values of the label "reason".
const (
	fileMissing  = "missing"     // no such key or version: a lifecycle rule or a person removed it
	fileReplaced = "replaced"    // overwritten since; the new content is announced by itself
	fileArchived = "archived"    // in a class that must be restored first (Glacier, Deep Archive, archive tiers)
	fileDenied   = "denied"      // s3:GetObject is not allowed
	fileKMS      = "kms"         // the key that it is encrypted with may not be used, is disabled or is gone
	fileNoBucket = "no_bucket"   // no such bucket, or one in another region
	fileFailed   = "read_failed" // S3 or the network failed
	fileCorrupt  = "corrupt"     // gzip, zstd or Parquet that is broken or cut off
	fileLayout   = "layout"      // Parquet without columns of a flow log
)

func fileReasons() []string {
	return []string{fileMissing, fileReplaced, fileArchived, fileDenied, fileKMS, fileNoBucket, fileFailed, fileCorrupt, fileLayout}
}

// FileError says why a file could not be read.
type FileError struct {
	// Reason is a constant of the label "reason".
	Reason string
	Err    error
}

func (e *FileError) Error() string { return e.Reason + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *FileError) Unwrap() error { return e.Err }

// final says that trying again is of no use.
func (e *FileError) final() bool { return e.Reason == fileMissing || e.Reason == fileReplaced }

// readFault names what S3 said.
func readFault(err error) *FileError {
	reason := fileFailed
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		reason = reasonOf(api.ErrorCode(), api.ErrorMessage())
	}
	if reason == fileFailed {
		if resp, ok := errors.AsType[*awshttp.ResponseError](err); ok {
			switch resp.HTTPStatusCode() {
			case http.StatusNotFound, http.StatusMethodNotAllowed: // the latter is a delete marker
				reason = fileMissing
			case http.StatusMovedPermanently, http.StatusTemporaryRedirect:
				reason = fileNoBucket
			case http.StatusRequestedRangeNotSatisfiable: // of a file of no bytes
				reason = fileCorrupt
			case http.StatusForbidden:
				reason = fileDenied
			case http.StatusPreconditionFailed:
				reason = fileReplaced
			}
		}
	}
	return &FileError{Reason: reason, Err: err}
}

func reasonOf(code, message string) string {
	switch code {
	case "NoSuchKey", "NoSuchVersion", "NotFound":
		return fileMissing
	case "PreconditionFailed":
		return fileReplaced
	case "InvalidObjectState":
		return fileArchived
	case "NoSuchBucket", "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		return fileNoBucket
	case "AccessDenied":
		// S3 passes on what KMS refused under its own code.
		if strings.Contains(message, "kms:") || strings.Contains(message, "KMS") {
			return fileKMS
		}
		return fileDenied
	}
	if strings.HasPrefix(code, "KMS.") {
		return fileKMS
	}
	return fileFailed
}
