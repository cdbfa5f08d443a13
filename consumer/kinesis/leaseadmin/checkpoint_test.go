package leaseadmin

import (
	"strings"
	"testing"

	"dredge/consumer/kinesis/lease"
)

// A sink that keeps positions may stand before its lease: what is a move back or forward goes by the later of the two.
func TestMoveGoesByTheLaterPosition(t *testing.T) {
	f := func(leased, sink, to string, m Move, want string) {
		t.Helper()
		m.To = lease.Checkpoint{Sequence: to}
		if sink != "" {
			m.Sink = lease.Checkpoint{Sequence: sink}
		}
		err := m.check(lease.Lease{Key: "shardId-000000000000", Checkpoint: lease.Checkpoint{Sequence: leased}})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("from %s and %s to %s: %v, want %q", leased, sink, to, err, want)
		}
	}
	f("5", "", "5", Move{}, "stands at 5 already")
	f("5", "10", "5", Move{}, "from 10 to 5 is a move back")
	f("5", "10", "5", Move{AllowRepeat: true}, "")
	f("5", "10", "7", Move{AllowSkip: true}, "from 10 to 7 is a move back")
	f("5", "10", "10", Move{}, "") // only the lease lags behind
	f("5", "10", "12", Move{AllowRepeat: true}, "from 10 to 12 is a move forward")
	f("10", "5", "7", Move{}, "from 10 to 7 is a move back")
}
