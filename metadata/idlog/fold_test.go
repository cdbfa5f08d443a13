package idlog_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"dredge/metadata/event"
	"dredge/metadata/idlog"

	"github.com/google/go-cmp/cmp"
)

// The row S10 for a sonar's memory: what has ended goes out of a Fold with the retention, whatever it was told of, and what describes
// its owners goes with it.
func TestS10FoldStaysFlat(t *testing.T) {
	f := idlog.NewFold(time.Hour)
	now := time.UnixMilli(1_700_000_000_000)
	n, most := 0, 0
	for minute := range 24 * 60 {
		for range 3 {
			n++
			at := now.UnixMilli()
			eni, id := fmt.Sprint("eni:eni-", n), []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
			six := netip.AddrFrom16([16]byte{0: 0xfd, 12: id[0], 13: id[1], 14: id[2], 15: id[3]})
			for _, e := range []event.Event{
				{Op: event.Assign, IP: six.String(), Owner: eni, From: at, To: at + 60_000, WL: &event.Workload{App: fmt.Sprint("app-", n)}},
				{Op: event.Assign, IP: "10.0.0.1", Port: 1 + n%60_000, Proto: 6, Owner: fmt.Sprint("task-", n), From: at, To: at + 60_000},
				{Op: event.Assign, IP: fmt.Sprint("10.1.0.", n%100), Owner: eni, From: at},
				{Op: event.Describe, Owner: eni, From: at, WL: &event.Workload{App: fmt.Sprint("app-", n, "-b")}},
				{Op: event.Assign, CIDR: six.String() + "/128", Owner: eni, From: at},
				{Op: event.Release, CIDR: six.String() + "/128", Owner: eni, To: at + 60_000},
				{Op: event.Coverage, Prefix: six.String() + "/128", From: at, To: at + 60_000},
				{Op: event.Topology, CIDR: fmt.Sprint("10.2.", n%200, ".0/24"), ToScope: "vpc-2", Owner: fmt.Sprint("pcx-", n), From: at, To: at + 60_000},
			} {
				e.Src, e.Scope, e.Obs = "ec2", "vpc-1", at
				if e.Op == event.Describe {
					e.Scope = ""
				}
				if err := f.Apply(&e); err != nil {
					t.Fatal(err)
				}
			}
			f.Observe(idlog.Sighting{Scope: "vpc-1", ENI: fmt.Sprint("eni-", n), IP: six, Start: at, End: at + 1000})
		}
		now = now.Add(time.Minute)
		if minute%10 != 9 {
			continue
		}
		f.Trim(now)
		events, sightings := f.Size()
		switch size := events + sightings; {
		case minute < 4*60:
			most = max(most, size)
		case size > most+most/10:
			t.Fatalf("minute %d: %d events and %d sightings, in the first four hours at most %d", minute, events, sightings, most)
		}
	}
	if owners := len(f.Owners("")); owners > n/4 {
		t.Errorf("%d owners of %d are described", owners, n)
	}
}

// Of a network stays what had not ended: claims, routes and coverage each by its own rules.
func TestFoldTrimsNetworks(t *testing.T) {
	at := func(minutes int) int64 { return int64(1+minutes) * 60_000 }
	told := map[string]event.Event{
		"over":            {Op: event.Assign, CIDR: "10.0.0.0/16", Owner: "a", From: at(0)},
		"its end":         {Op: event.Release, CIDR: "10.0.0.0/16", Owner: "a", To: at(10)},
		"back":            {Op: event.Assign, CIDR: "10.0.0.0/16", Owner: "a", From: at(20)},
		"another's":       {Op: event.Assign, CIDR: "10.0.0.0/16", Owner: "b", From: at(0)},
		"ended late":      {Op: event.Assign, CIDR: "10.1.0.0/16", Owner: "a", From: at(0)},
		"the late end":    {Op: event.Release, CIDR: "10.1.0.0/16", Owner: "a", To: at(100)},
		"planned":         {Op: event.Topology, CIDR: "10.2.0.0/16", Owner: "pcx", ToScope: "vpc-2", From: at(0), To: at(10)},
		"route":           {Op: event.Topology, CIDR: "10.2.0.0/16", Owner: "pcx", ToScope: "vpc-3", From: at(5)},
		"coverage before": {Op: event.Coverage, Prefix: "10.3.0.0/16", From: at(0)},
		"coverage":        {Op: event.Coverage, Prefix: "10.3.0.0/16", From: at(30), Actions: "REJECT"},
	}
	f := idlog.NewFold(time.Hour)
	for _, e := range told {
		e.Src, e.Scope = "ec2", "vpc-1"
		if err := f.Apply(&e); err != nil {
			t.Fatal(err)
		}
	}
	f.Trim(time.UnixMilli(at(60 + 50 + 10))) // the horizon is minute 50
	var left []string
	f.Each(func(e *event.Event) {
		for what, x := range told {
			if x.Op == e.Op && x.CIDR == e.CIDR && x.Prefix == e.Prefix && x.Owner == e.Owner && x.From == e.From && x.To == e.To {
				left = append(left, what)
			}
		}
	})
	slices.Sort(left)
	if diff := cmp.Diff([]string{"another's", "back", "coverage", "ended late", "route", "the late end"}, left); diff != "" {
		t.Error(diff)
	}
}
