package ec2

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// fault is what kind of error a call met.
type fault int

const (
	faultPermanent fault = iota
	faultDenied
	faultThrottled
	faultTransient
)

// classify says what may be done about an error.
func classify(err error) fault {
	var api smithy.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode() {
		case "RequestLimitExceeded", "Throttling", "ThrottlingException", "RequestThrottled", "RequestThrottledException", "SlowDown",
			"BandwidthLimitExceeded", "ProvisionedThroughputExceededException", "TooManyRequestsException":
			return faultThrottled
		case "UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "AuthFailure", "OptInRequired", "ExpiredToken",
			"ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException", "AccessDeniedForDependency":
			return faultDenied
		case "InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable", "RequestTimeout", "ServerInternal":
			return faultTransient
		}
	}
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) {
		switch code := answer.HTTPStatusCode(); {
		case code == http.StatusTooManyRequests:
			return faultThrottled
		case code >= 500:
			return faultTransient
		}
		return faultPermanent
	}
	if errors.Is(err, context.Canceled) || errors.As(err, &api) {
		return faultPermanent
	}
	return faultTransient // no answer at all
}

const (
	// callTimeout bounds one request.
	callTimeout = 30 * time.Second
	// attempts bound how often one call is tried before the listing is given up until its next turn.
	throttledAttempts = 8
	transientAttempts = 4
)

// call makes one request within the estate's rate, and again when EC2 says that it was too much or nothing came back. A page
// token stays good meanwhile, so a throttled listing goes on where it stopped.
func call[T any](ctx context.Context, e *estate, action string, f func(ctx context.Context) (T, error)) (T, error) {
	var zero T
	for attempt := 1; ; attempt++ {
		if err := e.limiter.wait(ctx); err != nil {
			return zero, err
		}
		e.metrics.calls.Inc()
		bounded, cancel := context.WithTimeout(ctx, callTimeout)
		out, err := f(bounded)
		cancel()
		if err == nil {
			e.limiter.succeeded()
			return out, nil
		}
		if ctx.Err() != nil {
			return zero, ctx.Err()
		}
		last := true
		switch classify(err) {
		case faultThrottled:
			e.metrics.throttled.Inc()
			e.limiter.throttled()
			last = attempt >= throttledAttempts
		case faultTransient:
			last = attempt >= transientAttempts
		case faultDenied:
			e.metrics.failed.Inc()
			return zero, fmt.Errorf("%s: %w; grant ec2:%s to the role", action, err, action)
		default:
		}
		if last {
			e.metrics.failed.Inc()
			return zero, fmt.Errorf("%s: %w", action, err)
		}
		// Full jitter: many estates are throttled together.
		if err := pause(ctx, time.Duration(rand.Int64N(int64(min(30*time.Second, 500*time.Millisecond<<attempt))))); err != nil {
			return zero, err
		}
	}
}

// pages calls f with the token of each page until there is no next one.
func pages(f func(token *string) (next *string, err error)) error {
	var token *string
	seen := map[string]bool{}
	for {
		next, err := f(token)
		if err != nil || next == nil || *next == "" {
			return err
		}
		if seen[*next] {
			return fmt.Errorf("the page token %q came twice: the listing does not end", *next)
		}
		seen[*next] = true
		token = next
	}
}
