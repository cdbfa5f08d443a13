package kafka

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"dredge/sink"
	"dredge/stream"
)

const letterTopic = "flows_dead"

func newDeadLetter(t *testing.T) (*stage, *DeadLetter) {
	t.Helper()
	s := newStage(t, func(c *Config) { c.DeadLetter.Topic = letterTopic }, kfake.SeedTopics(1, letterTopic))
	d, err := NewDeadLetter(s.cfg, s.log, nil, kgo.Dialer(s.net.DialContext))
	if err != nil {
		t.Fatal(err)
	}
	return s, d
}

func (s *stage) deadLetters() []sink.Letter {
	s.t.Helper()
	var all []sink.Letter
	for _, r := range s.read(letterTopic) {
		l, _, err := sink.ParseLetter(r.Value)
		if err != nil {
			s.t.Error(err)
		}
		all = append(all, l)
	}
	return all
}

func TestDeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := newDeadLetter(t)
		defer s.close()
		defer d.Close()
		if err := d.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []sink.Letter{
			{Partition: "shard-0", At: "1", Index: 3, Reason: "bad_field", Detail: "field 4", Data: []byte("2 123 -"), Size: 7},
			{Partition: "shard-0", At: "2", Index: -1, Reason: "bad_gzip", Detail: "truncated", Data: []byte{0x1f, 0x8b, 0xff}, Size: 3},
		}
		for _, l := range want {
			if err := d.Put(t.Context(), l); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, s.deadLetters()); diff != "" {
			t.Errorf("letters (-want +got):\n%s", diff)
		}
	})
}

// Letters that the broker refuses are kept: Flush says why, and a later one delivers them.
func TestDeadLetterRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := newDeadLetter(t)
		defer s.close()
		defer d.Close()
		put := func(n int) {
			t.Helper()
			for range n {
				if err := d.Put(t.Context(), sink.Letter{Partition: "shard-0", Reason: "bad_field", Data: []byte("x"), Size: 1}); err != nil {
					t.Fatal(err)
				}
			}
		}
		put(3)
		f := s.refuse(kerr.TopicAuthorizationFailed)
		err := d.Flush(t.Context())
		if _, ok := errors.AsType[*stream.PermanentError](err); !ok || !strings.Contains(err.Error(), letterTopic) {
			t.Errorf("Flush without the right to write = %v, want a permanent error that names the topic", err)
		}
		f.Mend()
		f = s.refuse(kerr.CorruptMessage)
		put(2)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := d.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, kerr.CorruptMessage) {
			t.Errorf("Flush = %v, want the end of its context and the reason", err)
		}
		f.Mend()
		if err := d.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := len(s.deadLetters()); got != 5 {
			t.Errorf("%d letters arrived, want 5", got)
		}
	})
}

// A flood of letters against a dead broker blocks Put; it does not fill memory.
func TestDeadLetterBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := newDeadLetter(t)
		defer s.close()
		defer d.Close()
		s.refuse(kerr.NotEnoughReplicas)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		data := make([]byte, 60<<10)
		for i := range data {
			data[i] = 'x'
		}
		n := 0
		var err error
		for ; err == nil; n++ {
			err = d.Put(ctx, sink.Letter{Data: data, Size: len(data)})
		}
		if !errors.Is(err, context.DeadlineExceeded) || n*len(data) > letterBytes+len(data) {
			t.Errorf("Put number %d = %v, want to be held at %d bytes", n, err, letterBytes)
		}
	})
}
