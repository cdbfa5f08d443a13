package awsfake

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// FaultKind is what goes wrong.
type FaultKind int

// The kinds of fault.
const (
	// Delay only waits; with another kind a Fault's Delay comes first.
	Delay FaultKind = iota
	// Throttle refuses the request as AWS does when a limit is reached; nothing is applied.
	Throttle
	// InternalError answers HTTP 500; nothing is applied.
	InternalError
	// Unavailable answers HTTP 503; nothing is applied.
	Unavailable
	// Reset breaks the connection; nothing is applied.
	Reset
	// LostReply applies the operation and breaks the connection instead of answering.
	LostReply
	// TruncatedReply applies the operation and breaks the connection in the middle of the answer.
	TruncatedReply
	// ExpiredIterator refuses with ExpiredIteratorException.
	ExpiredIterator
	// Partial leaves every second entry of PutRecords, BatchWriteItem or BatchGetItem undone, as throttling does, and says so.
	Partial
	// Failure refuses with the Fault's Code, Message and Status.
	Failure
)

// Fault is an order for trouble. Of several faults that match a request the oldest acts.
type Fault struct {
	// Op is the operation, such as GetRecords; empty means every one.
	Op string
	// Kind is what happens.
	Kind FaultKind
	// Delay holds the request for so long, in the time of the server's timers (not of Config.Clock).
	Delay time.Duration
	// Skip lets so many matching requests pass first.
	Skip int
	// Times ends the fault after it has struck so often; 0 means never.
	Times int
	// Probability strikes a matching request with this chance, drawn from Seed; 0 means always.
	Probability float64
	// Seed makes Probability repeatable.
	Seed uint64
	// Stream, Shard and Table restrict the fault to requests that name them. Shard does not match writes, which name none.
	Stream, Shard, Table string
	// Key restricts the fault to requests for that key of S3.
	Key string
	// Account restricts the fault to requests that this account's credentials signed.
	Account string
	// Code, Message and Status are the answer of kind Failure; Status defaults to 400.
	Code, Message string
	Status        int
}

// Injection is a Fault in force.
type Injection struct {
	faults *faults
	fault  Fault
	random *rand.Rand
	seen   int
	struck int
}

// Remove ends the fault. It may be called more than once.
func (i *Injection) Remove() {
	i.faults.mu.Lock()
	defer i.faults.mu.Unlock()
	i.faults.active = slices.DeleteFunc(i.faults.active, func(o *Injection) bool { return o == i })
}

// Struck is how often the fault has acted.
func (i *Injection) Struck() int {
	i.faults.mu.Lock()
	defer i.faults.mu.Unlock()
	return i.struck
}

type faults struct {
	mu     sync.Mutex
	active []*Injection
}

// Inject puts f in force until it has struck f.Times times or is removed.
func (s *Server) Inject(f Fault) *Injection {
	i := &Injection{faults: &s.faults, fault: f, random: rand.New(rand.NewPCG(f.Seed, 0))}
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.active = append(s.faults.active, i)
	return i
}

// ClearFaults removes every fault.
func (s *Server) ClearFaults() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.active = nil
}

// next takes the fault that strikes this call, if any.
func (f *faults) next(c *call) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n, i := range f.active {
		if !i.fault.matches(c) {
			continue
		}
		if i.seen++; i.seen <= i.fault.Skip {
			continue
		}
		if i.fault.Probability > 0 && i.random.Float64() >= i.fault.Probability {
			continue
		}
		if i.struck++; i.fault.Times > 0 && i.struck >= i.fault.Times {
			f.active = slices.Delete(f.active, n, n+1)
		}
		return &i.fault
	}
	return nil
}

func (f *Fault) matches(c *call) bool {
	switch {
	case f.Op != "" && f.Op != c.operation,
		f.Account != "" && f.Account != c.account,
		f.Stream != "" && (c.service.name != "kinesis" || f.Stream != c.resource),
		f.Table != "" && (c.service.name != "dynamodb" || f.Table != c.resource),
		f.Key != "" && f.Key != c.key,
		f.Shard != "" && f.Shard != c.shard:
		return false
	}
	return true
}

// failure is the refusal that the fault stands for, or nil when the operation is to run.
func (f *Fault) failure(c *call) *apiError {
	switch f.Kind {
	case Throttle:
		return throttled(c)
	case InternalError:
		code := "InternalFailure"
		switch c.service.name {
		case "dynamodb":
			code = "InternalServerError"
		case "s3":
			code = "InternalError"
		}
		return &apiError{Code: code, Message: "internal error on order", Status: http.StatusInternalServerError}
	case Unavailable:
		return &apiError{Code: "ServiceUnavailable", Message: "unavailable on order", Status: http.StatusServiceUnavailable}
	case ExpiredIterator:
		return failure("ExpiredIteratorException", "Iterator expired. (on order)")
	case Failure:
		status := f.Status
		if status == 0 {
			status = http.StatusBadRequest
		}
		return &apiError{Code: f.Code, Message: f.Message, Status: status}
	default:
		return nil
	}
}

// throttled is the error by which the operation's real counterpart refuses excess.
func throttled(c *call) *apiError {
	switch c.service.name {
	case "ec2":
		return &apiError{Code: "RequestLimitExceeded", Message: "Request limit exceeded. (on order)", Status: http.StatusServiceUnavailable}
	case "ecs", "sts":
		return failure("ThrottlingException", "Rate exceeded (on order)")
	case "s3":
		return &apiError{Code: "SlowDown", Message: "Please reduce your request rate. (on order)", Status: http.StatusServiceUnavailable}
	case "sqs":
		return failure("RequestThrottled", "Rate exceeded (on order)")
	}
	if c.service.name == "kinesis" {
		switch c.operation {
		case "GetRecords", "GetShardIterator", "PutRecord", "PutRecords":
		default:
			return failure("LimitExceededException", "Rate exceeded for "+c.operation+" (on order)")
		}
	}
	return failure("ProvisionedThroughputExceededException", "Rate exceeded (on order)")
}
