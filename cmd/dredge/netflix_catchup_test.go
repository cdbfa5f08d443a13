package main

import (
	"testing"
	"testing/synctest"
	"time"

	"dredge/consumer/kinesis"
)

// TestP4BacklogIsDrained: a stream of 8 shards has an hour's backlog when its workers start, and goes on as before. Workers that each handle little
// more than what arrives, and are as many as /scale says, drain it at twice the rate of arrival or faster: an hour's backlog is gone within an hour.
func TestP4BacklogIsDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const (
			arrival  = 8_000          // bytes a second
			capacity = 1.25 * arrival // of one worker
			backlog  = 3600 * arrival // an hour's
		)
		f := newScaledFleet(t, 8, capacity, func(c *kinesis.Config) { c.IdleWait = 2 * time.Second })
		defer f.end()
		f.record = 100 // so that one read, of 10,000 records at most, is a small part of the backlog
		// It came in evenly over the last hour, so that its age tells the lag.
		for range 60 {
			f.write(backlog / 60)
			<-time.After(time.Minute)
		}
		f.start()
		took := f.step(2*time.Hour, arrival, func() bool {
			return f.handled() >= float64(f.put*f.record-arrival*60) // what came in the last minute is no backlog
		})
		drained := float64(backlog)/took.Seconds() + arrival
		t.Logf("an hour's backlog was drained in %s, at %.1f times the rate of arrival", took, drained/arrival)
		if drained < 2*arrival {
			t.Errorf("drained at %.0f bytes a second where %d arrive, want at least twice that", drained, arrival)
		}
		if took >= time.Hour {
			t.Errorf("the backlog was not drained within an hour")
		}
	})
}
