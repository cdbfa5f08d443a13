package event

import "context"

// Emit takes what a source tells, in order. When it returns nil the events have been taken: a later progress event may vouch for
// them. The slice is the caller's again afterwards, the texts in it are kept. An error means that nobody listens any more (the
// context has ended); the source then returns. Events that break a rule of the schema are counted and left out by the taker and
// are no error. Emit may be called by several goroutines; calls of one of them stay in order.
type Emit func(events []Event) error

// Source turns one world (a cloud account, a cluster, a file) into events. The contract is small so that anything can be one:
//
//   - Run works until ctx ends and returns nil then, after everything that it started has ended. It is called once. What can
//     come back (throttling, AccessDenied, a dropped watch) is retried inside, counted, and named by Faults.
//   - Every event carries Src, and Obs in Unix milliseconds. Names lists every Src that may occur.
//   - A Progress event follows the events that it vouches for, about every ten seconds, and only where a complete listing or a
//     watch without gaps stands behind it. Event feeds that may lose something never tell progress.
//   - Absence becomes a Release with its Owner only after a second complete look; nobody else infers one.
//   - A source starts with everything that it knows: who listens may know nothing yet.
type Source interface {
	// Names returns every Src that the source's events may carry, stable over restarts (kind/account/region/cluster).
	Names() []string
	// Run tells emit what the source learns until ctx ends.
	Run(ctx context.Context, emit Emit) error
	// Faults says in one line each what cannot be read at present, for /readyz and the page; none when all is well. Any
	// goroutine may ask.
	Faults() []string
}
