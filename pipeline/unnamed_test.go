package pipeline

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dredge/row"
)

func unnamedRow(ip, vpc, reason string, bytes int64) row.Row {
	return row.Row{
		Src: row.Side{Addr: netip.MustParseAddr(ip), Grade: row.GradeUnknown, Reason: reason, Identity: &row.Identity{VPC: vpc, Account: "123456789012"}},
		Dst: row.Side{App: "db", Grade: "confirmed", Named: true}, Bytes: bytes, Counted: true,
	}
}

// Only counted, unnamed ends inside our networks count, by address, VPC and reason, over all minutes of the summary.
func TestUnnamedOfTheLastMinutes(t *testing.T) {
	start := time.Unix(1_700_000_040, 0)
	tr, l := newTraffic(start, 1000), &local{}
	at := func(after time.Duration, rows ...row.Row) {
		l.sum(rows)
		tr.add(l, int64(len(rows)), start.Add(after))
	}
	other := unnamedRow("10.0.0.9", "vpc-1", "never-seen", 1<<20)
	other.Counted = false
	network, public, named := unnamedRow("10.9.0.1", "", "cidr", 5), unnamedRow("8.8.8.8", "", "public-address", 5), unnamedRow("10.0.0.8", "", "interval", 5)
	network.Src.Grade, public.Src.Grade, named.Src.Named = row.GradePrefix, row.GradePublic, true
	at(0, unnamedRow("10.0.0.1", "vpc-1", "never-seen", 10), unnamedRow("10.0.0.1", "vpc-2", "never-seen", 100), other, network, public, named)
	at(time.Minute, unnamedRow("10.0.0.1", "vpc-1", "never-seen", 5), unnamedRow("10.0.0.2", "vpc-1", "second-owner", 50))
	want := []Unnamed{
		{Reason: "never-seen", VPC: "vpc-2", Bytes: 100, Flows: 1},
		{Reason: "second-owner", VPC: "vpc-1", Bytes: 50, Flows: 1},
		{Reason: "never-seen", VPC: "vpc-1", Bytes: 15, Flows: 2},
	}
	got := tr.summary(start.Add(100 * time.Second))
	if diff := cmp.Diff(want, got.Unnamed, cmpopts.IgnoreFields(Unnamed{}, "Address", "Grade", "Account")); diff != "" {
		t.Error(diff)
	}
	if got = tr.summary(start.Add(7 * time.Minute)); len(got.Unnamed) != 0 {
		t.Errorf("after the minutes are over: %+v", got.Unnamed)
	}
}

// What is kept is bounded; what is beyond is in the sums all the same.
func TestUnnamedIsBounded(t *testing.T) {
	start := time.Unix(1_700_000_040, 0)
	tr, l := newTraffic(start, 1000), &local{}
	var sent int64
	for part := range 2 {
		var rows []row.Row
		for i := range partRecords {
			rows = append(rows, unnamedRow(fmt.Sprintf("10.%d.%d.%d", part, i/256, i%256), "vpc-1", "never-seen", 10))
			sent += 10
		}
		l.sum(rows)
		tr.add(l, int64(len(rows)), start)
	}
	got := tr.summary(start.Add(time.Second))
	if len(got.Unnamed) != topUnnamed {
		t.Errorf("%d addresses are listed", len(got.Unnamed))
	}
	sum := got.OtherUnnamedBytes
	for _, u := range got.Unnamed {
		sum += u.Bytes
	}
	if sum != sent {
		t.Errorf("%d bytes of %d are accounted for", sum, sent)
	}
	rows := []row.Row{unnamedRow("10.0.0.1", "vpc-1", "never-seen", 1)}
	if n := testing.AllocsPerRun(100, func() { l.sum(rows) }); n > 0 {
		t.Errorf("%.1f allocations for a batch", n)
	}
}
