package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"dredge/consumer/kinesis/lease"
	"dredge/row"
)

// entry is one payload that was put into the stream, and how often each of its lines came out.
type entry struct {
	origin   string // the part of its rows' ids that names it
	sequence string
	bytes    int
	put      time.Time
	seen     []uint8
}

// ledger counts rows by their ids.
type ledger struct {
	mu      sync.Mutex
	origins map[string]*entry   // by the part of the row id that names the payload
	shards  map[string][]*entry // in order of their sequence numbers
	early   map[string][]int    // rows that were read before their payload was entered
	last    *entry              // that was put
	missing int                 // lines that have not come out
	in, out int
	bytes   int64
	strange int             // rows that no payload explains
	delays  []time.Duration // from the put of a payload to its first row
}

func newLedger() *ledger {
	return &ledger{origins: map[string]*entry{}, shards: map[string][]*entry{}, early: map[string][]int{}}
}

// put enters a payload.
func (l *ledger) put(shard, sequence string, lines, size int) {
	origin, _, _ := strings.Cut(row.LineID(shard, sequence, 0), ".")
	e := &entry{origin: origin, sequence: sequence, bytes: size, put: time.Now(), seen: make([]uint8, lines)}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.origins[origin] = e
	l.shards[shard] = append(l.shards[shard], e)
	l.last = e
	l.in += lines
	l.missing += lines
	l.bytes += int64(size)
	for _, i := range l.early[origin] {
		l.count(e, i)
	}
	delete(l.early, origin)
}

// count counts one row of e.
func (l *ledger) count(e *entry, i int) {
	if i >= len(e.seen) {
		l.strange++
		return
	}
	if e.seen[i] == 0 {
		l.missing--
		if i == 0 {
			l.delays = append(l.delays, time.Since(e.put))
		}
	}
	if e.seen[i] < 255 {
		e.seen[i]++
	}
}

// read counts the rows of r until it ends. A last line without its end was cut off by a kill and was never confirmed.
func (l *ledger) read(r io.Reader) error {
	in := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := in.ReadSlice('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read rows: %w", err)
		}
		l.row(line)
	}
}

// row counts one row.
func (l *ledger) row(row []byte) {
	_, rest, ok := bytes.Cut(row, []byte(`"row_id":"`))
	id, _, _ := bytes.Cut(rest, []byte{'"'})
	if !ok {
		id = nil
	}
	l.id(id)
}

// id counts the row of that id.
func (l *ledger) id(id []byte) {
	origin, index, ok := parseID(id)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out++
	switch e := l.origins[string(origin)]; {
	case !ok:
		l.strange++
	case e == nil:
		l.early[string(origin)] = append(l.early[string(origin)], index)
	default:
		l.count(e, index)
	}
}

// parseID takes a row's id apart: the part that names the payload, and the line's index.
func parseID(id []byte) (origin []byte, index int, ok bool) {
	origin, number, ok := bytes.Cut(id, []byte{'.'})
	n, err := strconv.Atoi(string(number))
	return origin, n, ok && err == nil && n >= 0
}

// newest is the id of the first line of the payload that was put last, and when.
func (l *ledger) newest() (id string, put time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == nil {
		return "", time.Time{}
	}
	return l.last.origin + ".0", l.last.put
}

// afresh has the same payloads, and has seen no row of them.
func (l *ledger) afresh() *ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	again := newLedger()
	again.in, again.missing, again.bytes = l.in, l.in, l.bytes
	for origin, e := range l.origins {
		blank := *e
		blank.seen = make([]uint8, len(e.seen))
		again.origins[origin] = &blank
	}
	return again
}

// window is how many bytes of a shard lie after its checkpoint: what the next owner reads, of which the one before may have
// delivered any part.
func (l *ledger) window(shard string, c lease.Checkpoint) (n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.shards[shard] {
		at := lease.Checkpoint{Sequence: e.sequence}
		if at.Compare(c) > 0 {
			n += int64(e.bytes)
		}
	}
	return n
}

// tally is the ledger at its end.
type tally struct {
	In, Out, Lost, Strange int
	Twice                  int   // rows that came once more than they should
	TwiceBytes             int64 // of the payloads' bytes, in proportion
	Bytes                  int64
	// Median and Slowest are the median and the 99th percentile of the time from the put of a payload to its first row.
	Median, Slowest time.Duration
}

func (l *ledger) tally() tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := tally{In: l.in, Out: l.out, Strange: l.strange, Bytes: l.bytes}
	t.Median, t.Slowest = quantiles(l.delays)
	for _, list := range l.early {
		t.Strange += len(list)
	}
	for _, e := range l.origins {
		again := 0
		for _, n := range e.seen {
			switch {
			case n == 0:
				t.Lost++
			case n > 1:
				again += int(n) - 1
			}
		}
		t.Twice += again
		t.TwiceBytes += int64(again) * int64(e.bytes) / int64(max(len(e.seen), 1))
	}
	return t
}

// quantiles are the median and the 99th percentile; it sorts delays.
func quantiles(delays []time.Duration) (median, slowest time.Duration) {
	n := len(delays)
	if n == 0 {
		return 0, 0
	}
	slices.Sort(delays)
	return delays[n/2], delays[n*99/100]
}

// outstanding is how many lines have not come out, and how many rows came out.
func (l *ledger) outstanding() (missing, out int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.missing, l.out
}
