package scenario

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"dredge/internal/awsfake"
	"dredge/sink"
	"dredge/sink/sinktest"
	"dredge/stream"
)

// shardLog is what was put into the only shard of a stream.
type shardLog struct {
	*rig
	shard, last string
	rows        []string // ids of the rows that must come out
	letters     []string // places of the dead letters that must be kept
}

func (l *shardLog) put(data []byte) (sequence string) {
	l.Helper()
	l.shard, l.last = l.rig.put("key", data)
	return l.last
}

// good is a payload of which these lines, by index, become rows.
func (l *shardLog) good(data []byte, indexes ...int) (sequence string) {
	l.Helper()
	sequence = l.put(data)
	for _, i := range indexes {
		l.rows = append(l.rows, sinktest.RowID{Partition: l.shard, Position: stream.Position(sequence), Index: i}.String())
	}
	return sequence
}

// bad says that a letter must be kept of this place; index -1 is the whole payload.
func (l *shardLog) bad(sequence string, index int) {
	l.letters = append(l.letters, fmt.Sprintf("%s %s %d", l.shard, sequence, index))
}

// want waits until the checkpoint has passed everything, and compares.
func (l *shardLog) want() {
	l.Helper()
	l.await("the checkpoint passes the last record", time.Minute, func() bool { return l.leases()[l.shard].checkpoint.Sequence == l.last })
	var rows, letters []string
	for _, s := range l.mem.All() {
		rows = append(rows, s.ID().String())
	}
	for _, x := range l.rig.letters.letters() {
		letters = append(letters, fmt.Sprintf("%s %s %d", x.Partition, sequenceOf(x), x.Index))
		if x.Reason == "" || x.Detail == "" || x.Size > 0 && len(x.Data) == 0 {
			l.Errorf("letter at %s: reason %q, detail %q, %d of %d bytes", x.At, x.Reason, x.Detail, len(x.Data), x.Size)
		}
	}
	if slices.Sort(l.rows); !slices.Equal(slices.Sorted(slices.Values(rows)), l.rows) {
		l.Errorf("rows are\n%s, want\n%s", strings.Join(rows, "\n"), strings.Join(l.rows, "\n"))
	}
	if slices.Sort(l.letters); !slices.Equal(slices.Sorted(slices.Values(letters)), l.letters) {
		l.Errorf("dead letters are\n%s, want\n%s", strings.Join(letters, "\n"), strings.Join(l.letters, "\n"))
	}
}

// sequenceOf leaves a sub-sequence number out: what only looks like a KPL aggregate may be given one.
func sequenceOf(x sink.Letter) string {
	sequence, _, _ := strings.Cut(string(x.At), ":")
	return sequence
}

// I6: truncated gzip, bad JSON, a line of seven fields and one of 1 MiB in the middle of a shard: all later records become rows, the
// dead letter holds each of the four with its shard and sequence number, and the checkpoint in the lease table passes them.
func TestI6MalformedInputNeverStallsAShard(t *testing.T) {
	inBubble(t, 1, awsfake.Config{}, func(r *rig) {
		l := &shardLog{rig: r}
		w := r.start("dredge-a")
		l.good(r.message("flows", lines(0, 3)...), 0, 1, 2)
		l.want() // the shard is being read when the trouble begins

		whole := r.message("flows", lines(10, 500)...)
		l.bad(l.put(whole[:len(whole)/2]), -1)
		l.good(r.message("flows", lines(20, 2)...), 0, 1)
		l.bad(l.put(r.compress([]byte(`{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"flows","logStream":"s","logEvents":[{"id":`))), -1)
		l.good(r.message("flows", lines(30, 2)...), 0, 1)
		l.bad(l.good(r.message("flows", line(40), "2 123456789010 eni-1 10.0.0.1 10.0.0.2 1 2", line(41)), 0, 2), 1)
		l.bad(l.good(r.message("flows", line(50), strings.Repeat("x", 1<<20), line(51)), 0, 2), 1)
		for i := range 10 {
			l.good(r.message("flows", lines(100+10*i, 2)...), 0, 1)
		}
		l.want()

		i := slices.IndexFunc(r.letters.letters(), func(x sink.Letter) bool { return x.Size > 1<<19 })
		if i < 0 || r.letters.letters()[i].Size != 1<<20 {
			t.Error("no letter says that its line had 1 MiB")
		}
		if b := w.pipeline.Books().Snapshot(); b.Rejected["field_count"] != 1 || b.Rejected["too_long"] != 1 || b.Payloads["truncated_gzip"] != 1 || b.Payloads["bad_json"] != 1 {
			t.Errorf("books: rejected %v, payloads %v", b.Rejected, b.Payloads)
		}
	})
}

// What other producers may have put into the stream: each is refused by itself, and everything around it lands.
func TestForeignRecordsCostNoNeighbours(t *testing.T) {
	random := make([]byte, 4096)
	seeded := rand.NewChaCha8([32]byte{7})
	if _, err := seeded.Read(random); err != nil {
		t.Fatal(err)
	}
	aggregate := append([]byte{0xF3, 0x89, 0x9A, 0xC2}, random[:200]...) // KPL's magic, and a body that its checksum does not fit
	foreign := map[string]struct {
		data []byte
		at   []int // places of its letters
	}{
		"JSON of a clickstream":      {[]byte(`{"event":"page_view","user":17}`), []int{0}},
		"an S3 notification":         {[]byte(`{"Records":[{"eventSource":"aws:s3","s3":{"object":{"key":"a.gz","size":1}}}]}`), []int{0}},
		"random bytes":               {bytes.ReplaceAll(random, []byte("\n"), []byte("x")), nil},
		"KPL's magic without a body": {aggregate, []int{-1}},
		"gzip of random bytes":       {nil, nil},
		"a header of gzip alone":     {[]byte{0x1f, 0x8b}, []int{-1}},
		"one byte":                   {[]byte{0}, []int{0}},
		"an unknown message type":    {[]byte(`{"messageType":"NEWS","owner":"1","logGroup":"g","logStream":"s","logEvents":[]}`), []int{-1}},
		"deep JSON":                  {[]byte(strings.Repeat(`[`, 100_000)), nil},
	}
	inBubble(t, 1, awsfake.Config{}, func(r *rig) {
		l := &shardLog{rig: r}
		r.start("dredge-a")
		l.good(r.message("flows", line(0)), 0)
		n := 0
		names := slices.Sorted(maps.Keys(foreign))
		places := map[string]string{}
		for _, name := range names {
			f := foreign[name]
			if name == "gzip of random bytes" {
				f.data = r.compress(bytes.ReplaceAll(random, []byte("\n"), []byte("x")))
			}
			at := l.put(f.data)
			places[at] = name
			for _, i := range f.at {
				l.bad(at, i)
			}
			n += 2
			l.good(r.message("flows", line(n), line(n+1)), 0, 1)
		}
		l.await("the checkpoint passes the last record", time.Minute, func() bool { return r.leases()[l.shard].checkpoint.Sequence == l.last })
		// Bytes that are no text may be one line or a faulty payload; either way they stand in the dead letter, and only they.
		got := map[string]bool{}
		for _, x := range r.letters.letters() {
			name, ok := places[sequenceOf(x)]
			if !ok {
				t.Errorf("a letter was written of a good payload: %s %s %d %s", x.Partition, x.At, x.Index, x.Detail)
				continue
			}
			if got[name] = true; foreign[name].at == nil {
				l.bad(sequenceOf(x), x.Index)
			}
		}
		for _, name := range names {
			if !got[name] {
				t.Errorf("%s left no letter", name)
			}
		}
		l.want()
	})
}
