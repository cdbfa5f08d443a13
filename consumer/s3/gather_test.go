package s3

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"

	"dredge/internal/awsfake"
)

// everyFileOnce checks that each announced file is in exactly one mouthful that will be read.
func (r *rig) everyFileOnce(n int) {
	r.t.Helper()
	seen := map[string]string{}
	for _, m := range r.mouthfuls() {
		for _, o := range m.Files {
			if other, twice := seen[o.Key]; twice {
				r.t.Errorf("%s is in %s and in %s", o.Key, other, m.ID)
			}
			seen[o.Key] = m.ID
		}
	}
	if len(seen) != n {
		r.t.Errorf("%d of %d files are in mouthfuls", len(seen), n)
	}
}

// B1: form mouthfuls by size. Random sizes: every mouthful within the cap, a single oversize file alone; mean fill at least 90 %
// under load; the greatest age honoured.
func TestB1MouthfulsBySize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Gather.MaxBytes = 1000 })
		random := rand.New(rand.NewPCG(1, 2))
		const files = 1500
		oversize := 0
		for i := range files {
			size := 1 + random.Int64N(1000)
			if i%500 == 7 {
				size, oversize = 5000, oversize+1
			}
			r.announce(fmt.Sprintf("f%04d.log.gz", i), size)
		}
		stop := start(t, r.gatherer(nil).Run)
		r.wait(5*time.Minute, "all announcements taken", r.drained("announced"))
		stop()
		r.everyFileOnce(files)
		var sum, n int64
		for _, m := range r.mouthfuls() {
			var bytes int64
			for _, o := range m.Files {
				bytes += o.Size
			}
			switch {
			case bytes != m.Bytes:
				t.Errorf("%s has %d bytes and says %d", m.ID, bytes, m.Bytes)
			case bytes > 1000 && len(m.Files) > 1:
				t.Errorf("%s has %d bytes in %d files", m.ID, bytes, len(m.Files))
			case bytes > 1000:
				oversize--
			default:
				sum, n = sum+bytes, n+1
			}
		}
		if oversize != 0 {
			t.Errorf("%d oversize files are not alone", oversize)
		}
		if fill := float64(sum) / float64(n) / 1000; fill < 0.9 {
			t.Errorf("mean fill %.3f of %d mouthfuls", fill, n)
		} else {
			t.Logf("mean fill %.3f of %d mouthfuls", fill, n)
		}

		// One small file goes when it is old.
		before, _, _ := r.aws.SQS().Depth("mouthfuls")
		stop = start(t, r.gatherer(nil).Run)
		<-time.After(time.Minute)
		began := time.Now()
		r.announce("last.log.gz", 1)
		r.wait(2*time.Minute, "the last file", func() bool {
			now, _, _ := r.aws.SQS().Depth("mouthfuls")
			return now == before+1
		})
		if age := time.Since(began); age > r.cfg.Gather.MaxAge+2*time.Second || age < r.cfg.Gather.MaxAge/2 {
			t.Errorf("the last file went after %s", age)
		}
		stop()
	})
}

func TestDuplicatesAreInOneMouthful(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		g := r.gatherer(nil)
		stop := start(t, g.Run)
		for round := range 3 {
			for i := range 20 {
				r.announce(fmt.Sprintf("f%d.log.gz", i), 10)
				if round == 1 {
					r.announce(fmt.Sprintf("f%d.log.gz", i), 10)
				}
			}
			r.wait(5*time.Minute, "all announcements taken", r.drained("announced"))
		}
		stop()
		r.everyFileOnce(20)
		if n := testutil.ToFloat64(g.former.m.duplicates); n != 60 {
			t.Errorf("%v duplicates", n)
		}
	})
}

// What is no announcement of a flow log is acknowledged; what is not understood stays for the queue's redrive.
func TestWhatIsNotGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		for _, body := range []string{
			`{"Event":"s3:TestEvent"}`, s3Event("b", "AWSLogs/1/CloudTrail/x.gz", `,"size":1`), s3Event("b", "folder/", `,"size":0`), `nonsense`,
			`{"Type":"SubscriptionConfirmation","TopicArn":"arn:aws:sns:us-east-1:1:logs","Token":"t0","SubscribeURL":"https://sns.us-east-1.amazonaws.com/"}`,
			`{"Type":"UnsubscribeConfirmation","TopicArn":"arn:aws:sns:us-east-1:1:logs","Token":"t1"}`,
		} {
			if err := r.aws.SQS().Send("announced", body); err != nil {
				t.Fatal(err)
			}
		}
		g := r.gatherer(nil)
		var log bytes.Buffer
		g.d.Log = zerolog.New(zerolog.SyncWriter(&log))
		stop := start(t, g.Run)
		<-time.After(10 * time.Second)
		stop()
		for _, want := range []string{`"token":"t0"`, "waits for its confirmation", `"token":"t1"`, "has ended"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("no %q in the log:\n%s", want, &log)
			}
		}
		if visible, inFlight, _ := r.aws.SQS().Depth("announced"); visible+inFlight != 1 {
			t.Errorf("%d messages are left, want that of nonsense", visible+inFlight)
		}
		for reason, want := range map[string]float64{skipTest: 1, skipOther: 1, skipEmpty: 1, skipSNS: 2} {
			if n := testutil.ToFloat64(g.m.skipped[reason]); n != want {
				t.Errorf("%v skipped for %s", n, reason)
			}
		}
		if n := testutil.ToFloat64(g.m.faults[faultJSON]); n != 1 {
			t.Errorf("%v faults", n)
		}
	})
}

func TestGroupsShareNoMouthful(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Gather.GroupBy = GroupAccount })
		for i := range 40 {
			r.announce(fmt.Sprintf("AWSLogs/%012d/vpcflowlogs/x/%d.log.gz", i%4, i), 10)
		}
		stop := start(t, r.gatherer(nil).Run)
		r.wait(5*time.Minute, "all announcements taken", r.drained("announced"))
		stop()
		r.everyFileOnce(40)
		for _, m := range r.mouthfuls() {
			for _, o := range m.Files {
				if accountOf(o.Key) != accountOf(m.Files[0].Key) {
					t.Errorf("%s has %s and %s", m.ID, m.Files[0].Key, o.Key)
				}
			}
		}
	})
}

// A gatherer that is killed at any request, before or after it took effect, loses nothing and puts nothing into two mouthfuls.
func TestGathererKilledBetweenEveryTwoSteps(t *testing.T) {
	killEverywhere(t, 10, func(t *testing.T, k *killer) {
		r := newRig(t, func(c *Config) { c.Gather.MaxFiles = 3 })
		for i := range 6 {
			r.announce(fmt.Sprintf("f%d.log.gz", i), 10)
		}
		k.live(t, r.gatherer(k).Run)
		two := []func(){start(t, r.gatherer(nil).Run), start(t, r.gatherer(nil).Run)}
		r.wait(time.Hour, "all announcements taken", r.drained("announced"))
		<-time.After(2 * time.Minute)
		for _, stop := range two {
			stop()
		}
		r.everyFileOnce(6)
		// Each is in its queue, perhaps more than once.
		sent := r.messages()
		for _, m := range r.mouthfuls() {
			if m.State != StateSent || !sent[m.ID] {
				t.Errorf("%s is %s, in its queue: %v", m.ID, m.State, sent[m.ID])
			}
		}
	})
}

// Several gatherers at once, with each file announced several times.
func TestSeveralGatherersShareAQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Gather.MaxFiles = 25 })
		const files = 300
		for i := range files {
			for range 1 + i%3 {
				r.announce(fmt.Sprintf("f%d.log.gz", i), 10)
			}
		}
		var stops []func()
		for range 4 {
			stops = append(stops, start(t, r.gatherer(nil).Run))
		}
		r.wait(time.Hour, "all announcements taken", r.drained("announced"))
		for _, stop := range stops {
			stop()
		}
		r.everyFileOnce(files)
	})
}

// A gatherer that is told to end gives back what it holds at once.
func TestGathererGivesBackAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		for i := range 30 {
			r.announce(fmt.Sprintf("f%d.log.gz", i), 10)
		}
		stop := start(t, r.gatherer(nil).Run)
		<-time.After(5 * time.Second)
		if _, inFlight, _ := r.aws.SQS().Depth("announced"); inFlight != 30 {
			t.Fatalf("%d in flight", inFlight)
		}
		stop()
		if visible, _, _ := r.aws.SQS().Depth("announced"); visible != 30 {
			t.Errorf("%d visible again", visible)
		}
	})
}

// While the ledger refuses everything, the gatherer holds no more than it may, and goes on afterwards by itself; also when SQS takes only a
// part of what is given back.
func TestLedgerOutage(t *testing.T) {
	for name, faults := range map[string][]awsfake.Fault{
		"Ledger": nil,
		"Both":   {{Op: "ChangeMessageVisibilityBatch", Kind: awsfake.Partial}},
	} {
		t.Run(name, func(t *testing.T) { testLedgerOutage(t, faults) })
	}
}

func testLedgerOutage(t *testing.T, faults []awsfake.Fault) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Gather.MaxHeld, c.Gather.MaxFiles = 100, 20 })
		for i := range 400 {
			r.announce(fmt.Sprintf("f%d.log.gz", i), 10)
		}
		r.throttleLedger()
		for _, f := range faults {
			r.aws.Inject(f)
		}
		stop := start(t, r.gatherer(nil).Run)
		for range 600 {
			<-time.After(time.Second)
			if _, inFlight, _ := r.aws.SQS().Depth("announced"); inFlight > 100 {
				t.Fatalf("%d in flight", inFlight)
			}
		}
		if visible, inFlight, _ := r.aws.SQS().Depth("announced"); visible+inFlight != 400 {
			t.Errorf("%d of 400 announcements are left in the outage", visible+inFlight)
		}
		r.aws.ClearFaults()
		r.wait(time.Hour, "all announcements taken", r.drained("announced"))
		stop()
		r.everyFileOnce(400)
	})
}
