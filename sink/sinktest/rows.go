package sinktest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"dredge/row"
	"dredge/stream"
)

// RowID names one row of the suite: where it came from, as a reader of the sink finds it.
type RowID struct {
	Partition string
	Position  stream.Position
	Index     int
}

// String is the form in which the suite's rows carry their id.
func (id RowID) String() string {
	return id.Partition + "/" + string(id.Position) + "/" + strconv.Itoa(id.Index)
}

// Compare orders ids by partition, position and index. The suite's positions are numbers of equal length.
func (id RowID) Compare(other RowID) int {
	return cmp.Or(strings.Compare(id.Partition, other.Partition),
		strings.Compare(string(id.Position), string(other.Position)), cmp.Compare(id.Index, other.Index))
}

// Encoder writes the suite's rows as JSON: the id and a padding taken from the row, so that a sink which encodes after Write
// returned is caught by the id, and one that keeps encoded bytes it does not own by the padding.
type Encoder struct {
	// Pad is the length of the padding, in bytes.
	Pad int
}

// Append writes row i of b.
func (e Encoder) Append(dst []byte, b *row.Batch, i int) []byte {
	r := &b.Rows[i]
	id := RowID{Partition: b.Partition, Position: stream.Position(b.Origins[r.Origin].Position), Index: int(r.Index)}
	dst = append(dst, `{"id":"`...)
	dst = append(dst, id.String()...)
	dst = append(dst, `","src_app":"`...)
	dst = append(dst, r.Src.App...)
	dst = append(dst, `","bytes":`...)
	dst = strconv.AppendInt(dst, r.Bytes, 10)
	dst = append(dst, `,"pad":"`...)
	n := e.Pad
	if n == 0 {
		n = int(r.Packets)
	}
	for range n {
		dst = append(dst, padByte(id))
	}
	return append(dst, `"}`...)
}

// padByte differs between neighbours, so that bytes of one row inside another are seen.
func padByte(id RowID) byte {
	sum := 0
	for _, c := range []byte(id.Position) {
		sum += int(c)
	}
	return 'a' + byte((sum+id.Index)%26)
}

// ParseRow reads what Encoder wrote, and says what is wrong with a row that is not whole.
func ParseRow(line string) (RowID, error) {
	rest, ok := strings.CutPrefix(line, `{"id":"`)
	if !ok {
		return RowID{}, fmt.Errorf("row %q does not begin with an id", clip(line))
	}
	text, rest, ok := strings.Cut(rest, `"`)
	parts := strings.Split(text, "/")
	if !ok || len(parts) != 3 {
		return RowID{}, fmt.Errorf("row %q: the id has not three parts", clip(line))
	}
	index, err := strconv.Atoi(parts[2])
	if err != nil {
		return RowID{}, fmt.Errorf("row %q: index: %w", clip(line), err)
	}
	id := RowID{Partition: parts[0], Position: stream.Position(parts[1]), Index: index}
	_, pad, ok := strings.Cut(rest, `"pad":"`)
	pad, whole := strings.CutSuffix(pad, `"}`)
	if !ok || !whole || strings.Trim(pad, string(padByte(id))) != "" {
		return RowID{}, fmt.Errorf("row %s is torn: %q", id, clip(rest))
	}
	return id, nil
}

func clip(s string) string {
	const limit = 120
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}

// Position makes the n-th position of a partition.
func Position(n int) stream.Position { return stream.Position(fmt.Sprintf("%08d", n)) }

// Batch makes n rows of one payload: part of partition at pos, indexes from first on. Each encodes to about size bytes.
func Batch(partition string, pos stream.Position, first, n, size int) *row.Batch {
	const frame = 80 // what Encoder writes around the padding
	b := &row.Batch{
		Partition: partition,
		Origins:   []row.Origin{{Position: string(pos), Arrived: time.Unix(1_700_000_000, 0)}},
	}
	apps := [...]string{"web", "api", "billing", "search", "mail"}
	for i := range n {
		k := first + i
		b.Rows = append(b.Rows, row.Row{
			Index: uint32(k),
			Start: time.Now().UnixMilli(),
			End:   time.Now().UnixMilli(),
			Bytes: int64(k), Packets: int64(max(size-frame, 0)),
			Src: row.Side{App: apps[k%len(apps)], Named: true},
			Dst: row.Side{App: apps[(k+1)%len(apps)], Named: true},
		})
	}
	return b
}

// IDs lists the ids of b's rows.
func IDs(b *row.Batch) []RowID {
	ids := make([]RowID, len(b.Rows))
	for i := range b.Rows {
		r := &b.Rows[i]
		ids[i] = RowID{Partition: b.Partition, Position: stream.Position(b.Origins[r.Origin].Position), Index: int(r.Index)}
	}
	return ids
}

// Sorted returns ids in order, for comparing what was written with what a reader found.
func Sorted(ids []RowID) []RowID {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, RowID.Compare)
	return ids
}

// poison overwrites all of b. A sink may keep nothing of it.
func poison(b *row.Batch) {
	b.Partition = "poison"
	for i := range b.Origins {
		b.Origins[i] = row.Origin{Position: "poison"}
	}
	for i := range b.Rows {
		b.Rows[i] = row.Row{Src: row.Side{App: "poison"}, Dst: row.Side{App: "poison"}, Bytes: -1}
	}
}
