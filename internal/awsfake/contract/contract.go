// Package contract is what a consumer relies on in Kinesis, DynamoDB, SQS and S3, as test suites that take an SDK client. awsfake runs
// them, and so can any emulator or AWS itself; where an emulator is known to differ, the caller declares a
// Deviation, and the check in question is left out and logged.
package contract

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/aws/smithy-go"
)

// Options adapts a suite to the service behind the client.
type Options struct {
	// Prefix starts the names of the streams and tables that the suite makes. A server that outlives the run needs another one
	// each time, at most 20 characters: the service remembers tokens of transactions for ten minutes.
	Prefix string
	// Wait is called between two looks at something that is not ready yet. It must let time pass.
	Wait func(time.Duration)
	// Deviations are the known differences of the service.
	Deviations []Deviation
}

// Deviation is a known difference of an emulator from AWS.
type Deviation string

// deviates says, and logs, that the service is declared not to hold what comes next.
func (o Options) deviates(t *testing.T, d Deviation) bool {
	t.Helper()
	if !slices.Contains(o.Deviations, d) {
		return false
	}
	t.Logf("not checked, a known deviation of this service: %s", d)
	return true
}

// until calls ready until it says true.
func (o Options) until(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for range 600 {
		if ready() {
			return
		}
		o.Wait(100 * time.Millisecond)
	}
	t.Fatalf("%s did not happen within a minute", what)
}

// must stops the test on an error.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wantCode fails the test unless err is the AWS error of that code.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code {
		t.Errorf("error = %v; want code %s", err, code)
	}
}
