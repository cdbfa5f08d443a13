// Package awscall is what identity sources that read AWS have in common: calls within a rate that adapts to throttling, again when nothing
// came back, page by page; a queue of events; and telling what they learn. It knows no service.
package awscall

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/prometheus/client_golang/prometheus"
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
	if answer, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
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
	// Timeout bounds one request.
	Timeout = 30 * time.Second
	// attempts bound how often one call is tried before the listing is given up until its next turn.
	throttledAttempts = 8
	transientAttempts = 4
)

// Caller makes the calls to one account in one region.
type Caller struct {
	// Service is what permissions begin with: ec2, ecs.
	Service string
	Limiter *Limiter
	// Calls counts requests, Throttled those refused because of their rate, Failed the calls that were given up.
	Calls, Throttled, Failed prometheus.Counter
}

// Do makes one request within the caller's rate, and again when AWS says that it was too much or nothing came back. A page token
// stays good meanwhile, so a throttled listing goes on where it stopped.
func Do[T any](ctx context.Context, c *Caller, action string, f func(ctx context.Context) (T, error)) (T, error) {
	var zero T
	for attempt := 1; ; attempt++ {
		if err := c.Limiter.wait(ctx); err != nil {
			return zero, err
		}
		c.Calls.Inc()
		bounded, cancel := context.WithTimeout(ctx, Timeout)
		out, err := f(bounded)
		cancel()
		if err == nil {
			c.Limiter.succeeded()
			return out, nil
		}
		if ctx.Err() != nil {
			return zero, ctx.Err()
		}
		last := true
		switch classify(err) {
		case faultThrottled:
			c.Throttled.Inc()
			c.Limiter.throttled()
			last = attempt >= throttledAttempts
		case faultTransient:
			last = attempt >= transientAttempts
		case faultDenied:
			c.Failed.Inc()
			return zero, fmt.Errorf("%s: %w; grant %s:%s to the role", action, err, c.Service, action)
		default:
		}
		if last {
			c.Failed.Inc()
			return zero, fmt.Errorf("%s: %w", action, err)
		}
		// Full jitter: many estates are throttled together.
		if err := Pause(ctx, time.Duration(rand.Int64N(int64(min(30*time.Second, 500*time.Millisecond<<attempt))))); err != nil {
			return zero, err
		}
	}
}

// Pages calls f with the token of each page until there is no next one.
func Pages(f func(token *string) (next *string, err error)) error {
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

// StableText is an error's text without the request's id, which differs each time.
func StableText(err error) string {
	s := err.Error()
	before, after, found := strings.Cut(s, "RequestID: ")
	if !found {
		return s
	}
	_, rest, _ := strings.Cut(after, ", ")
	return before + rest
}
