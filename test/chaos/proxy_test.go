package main

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The proxy reads commits as clients of old and new brokers write them, and takes no abort for one.
func TestCommitOf(t *testing.T) {
	for _, version := range []int16{0, 2, 3, 5} {
		for _, commit := range []bool{true, false} {
			req := kmsg.NewPtrEndTxnRequest()
			req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = "app/shard-0", 7, 3, commit
			req.SetVersion(version)
			frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("dredge-7")).AppendRequest(nil, req, 11)
			want := transactionKey{}
			if commit {
				want = transactionKey{"app/shard-0", 7, 3}
			}
			v, client, body := requestOf(frame[:header], frame[header:])
			if got := commitOf(v, body); got != want || client != "dredge-7" {
				t.Errorf("version %d, commit %v: %+v of %q, want %+v", version, commit, got, client, want)
			}
		}
	}
}

// What was lost once stays lost for that transaction, so its client gives up; others, and aborts, pass.
func TestCommitFaults(t *testing.T) {
	f := &commitFaults{gone: map[transactionKey]bool{}}
	one, two := transactionKey{"a", 1, 1}, transactionKey{"b", 2, 1}
	f.arm(loseAnswer)
	f.arm(loseRequest)
	for i, step := range []struct {
		of   transactionKey
		want lost
	}{
		{transactionKey{}, loseNothing},
		{one, loseAnswer},
		{one, loseRequest},
		{two, loseRequest},
		{two, loseRequest},
		{transactionKey{"a", 1, 2}, loseNothing},
	} {
		if got := f.meet(step.of); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
	if f.requests != 1 || f.answers != 1 {
		t.Errorf("%d requests and %d answers lost, want one each", f.requests, f.answers)
	}
}

// A strike waits for its moment: a commit of the transactional ids that it is for, or a position; it strikes once.
func TestStrikes(t *testing.T) {
	var s strikes
	topicID := kadm.TopicID{1, 2, 3}
	position := func(version int16, topic string, id kadm.TopicID) bool {
		req := kmsg.NewPtrProduceRequest()
		rt := kmsg.NewProduceRequestTopic()
		rt.Topic, rt.TopicID = topic, id
		req.Topics = append(req.Topics, rt)
		req.SetVersion(version)
		frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("dredge-7")).AppendRequest(nil, req, 11)
		v, _, body := requestOf(frame[:header], frame[header:])
		return s.atPosition(v, body) != nil
	}
	commit := func(id string) bool { return s.atCommit(transactionKey{id: id, pid: 1}) != nil }

	x := &strike{at: committed, suffix: "/positions"}
	s.arm(x)
	if s.lookingForPositions() || position(9, "positions", topicID) || commit("app/shard-0") || s.atCommit(transactionKey{}) != nil {
		t.Error("a strike for commits of positions met something else")
	}
	if !commit("app/shard-0/positions") || commit("app/shard-0/positions") || s.disarm(x) {
		t.Error("a strike for commits of positions did not strike once")
	}
	for _, version := range []int16{9, 12, 13} { // from 13 on a topic has an id in place of its name
		x = &strike{at: undecided, topic: "positions", topicID: topicID}
		s.arm(x)
		if !s.lookingForPositions() || position(version, "rows", kadm.TopicID{9}) || commit("app/shard-0") {
			t.Errorf("version %d: a strike for positions met something else", version)
		}
		if !position(version, "positions", topicID) || s.lookingForPositions() {
			t.Errorf("version %d: a strike for positions did not strike once", version)
		}
	}
	s.arm(x)
	if !s.disarm(x) || s.lookingForPositions() {
		t.Error("a strike that was taken back still waits")
	}
}

func TestScraperAddsWorkersUp(t *testing.T) {
	s := &scraper{last: map[string]map[string]float64{}}
	for worker, text := range map[string]string{
		"one": "# HELP x y z\nn_total{outcome=\"unknown\"} 2\nh_bucket{le=\"0.1\"} 8\nh_bucket{le=\"1\"} 9\nh_bucket{le=\"+Inf\"} 9\nh_count 9\n",
		"two": "n_total{outcome=\"unknown\"} 1\nh_bucket{le=\"0.1\"} 0\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_count 1\nnonsense\n",
	} {
		values, err := series(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		s.last[worker] = values
	}
	if got := s.sum(`n_total{outcome="unknown"}`); got != 3 {
		t.Errorf("sum %v, want 3", got)
	}
	for q, want := range map[float64]float64{0.5: 0.1, 0.99: 1} {
		if got, n := s.quantile("h", q); got != want || n != 10 {
			t.Errorf("quantile %v is below %v of %v, want %v of 10", q, got, n, want)
		}
	}
}
