package kinesis

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"
)

// ErrAbandon is a cause for cancelling the context of Run that makes the worker leave as if it had crashed: nothing is flushed,
// checkpointed or released, and other workers take over when the leases have expired. It exists for tests of take-over.
var ErrAbandon = errors.New("abandon all leases without a drain")

// ErrNotHeld is what Restart returns for a shard that this worker does not read.
var ErrNotHeld = errors.New("this worker does not read the shard")

// ErrDuplicateWorkerID says that another process renews leases under this worker's id. Run returns it.
var ErrDuplicateWorkerID = errors.New("another process uses the same worker id; leave worker_id out, or make it unique per start")

// Why a shard stops. They are causes of its context and never leave the package.
var (
	errDrain     = errors.New("worker is stopping")
	errHandOff   = errors.New("lease is handed to another worker")
	errLeaseLost = errors.New("lease was taken by another worker")
	errExpired   = errors.New("lease could not be renewed within the failover time")
	errGiveUp    = errors.New("the sink makes no progress")
	errRestart   = errors.New("an operator asked for it")
	errShardEnd  = errors.New("shard was read to its end")
)

// fault is what an error of the Kinesis API asks of the reader.
type fault string

const (
	faultThrottled fault = "throttled"        // wait longer
	faultExpired   fault = "expired_iterator" // ask for a new iterator
	faultGone      fault = "not_found"        // the shard, or the stream, is not there
	faultArgument  fault = "invalid_argument"
	faultTrimmed   fault = "trimmed" // what faultArgument means for a stored sequence number
	faultOther     fault = "other"   // try again
)

// faultOf names the class of err. Whatever it does not know is worth another try: reading has no side effects.
func faultOf(err error) fault {
	if errors.Is(err, context.Canceled) {
		return faultOther
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		return faultOther
	}
	switch api.ErrorCode() {
	case (&types.ProvisionedThroughputExceededException{}).ErrorCode(),
		(&types.LimitExceededException{}).ErrorCode(),
		(&types.KMSThrottlingException{}).ErrorCode(),
		"ThrottlingException", "Throttling", "RequestLimitExceeded":
		return faultThrottled
	case (&types.ExpiredIteratorException{}).ErrorCode():
		return faultExpired
	case (&types.ResourceNotFoundException{}).ErrorCode():
		return faultGone
	case (&types.InvalidArgumentException{}).ErrorCode():
		return faultArgument
	default:
		return faultOther
	}
}
