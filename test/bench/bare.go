package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strconv"

	"github.com/klauspost/compress/gzip"

	"dredge/internal/flowgen"
)

// table is open addressing from IPv4 address to its owners, oldest first: what a look-up costs at the least.
type table struct {
	slots  []slot
	shift  int
	owners []owner
	frags  [2][][]byte // by workload and side: ready-made JSON
}

type slot struct {
	ip, first uint32
	n         uint32
}

type owner struct {
	from, to int64
	workload uint32
}

func newTable(b *flowgen.Bulk) *table {
	t := &table{}
	var n int
	for range b.Tenures() {
		n++
	}
	size := 1 << bits.Len(uint(n)) // versions are several per address, so this is less than half full
	t.slots = make([]slot, size)
	t.shift = 64 - bits.TrailingZeros(uint(size))
	t.owners = make([]owner, 0, n)
	most := 0
	for tenure := range b.Tenures() {
		ip4 := tenure.IP.As4()
		ip := binary.BigEndian.Uint32(ip4[:])
		s := t.find(ip)
		if s.n == 0 {
			s.ip, s.first = ip, uint32(len(t.owners))
		}
		s.n++
		to := tenure.To
		if to == 0 {
			to = 1 << 62
		}
		t.owners = append(t.owners, owner{tenure.From, to, uint32(tenure.Workload)})
		most = max(most, tenure.Workload)
	}
	for side, p := range []string{"src", "dst"} {
		for i := range most + 1 {
			w := b.Workload(i)
			t.frags[side] = append(t.frags[side], fmt.Appendf(nil,
				`,"%[1]s_app":%[2]q,"%[1]s_cluster":%[3]q,"%[1]s_account":%[4]q,"%[1]s_vpc":%[5]q,"%[1]s_region":%[6]q,"%[1]s_grade":"covered"`,
				p, w.App, w.Cluster, w.Account, w.VPC, w.Region))
		}
	}
	return t
}

func (t *table) find(ip uint32) *slot {
	for i := uint64(ip) * 0x9e3779b97f4a7c15 >> t.shift; ; i++ {
		s := &t.slots[i&uint64(len(t.slots)-1)]
		if s.n == 0 || s.ip == ip {
			return s
		}
	}
}

// owner returns the workload that had ip in [start, end], -1 when there is none or more than one.
func (t *table) owner(ip uint32, start, end int64) int {
	s := t.find(ip)
	for i := int(s.n) - 1; i >= 0; i-- {
		if o := &t.owners[int(s.first)+i]; o.from <= start && end < o.to {
			return int(o.workload)
		}
	}
	return -1
}

type bare struct {
	t    *table
	zip  *gzip.Reader
	in   bytes.Reader
	text bytes.Buffer
	row  []byte
	n    int
	hits int64
}

func (b *bare) named() int64 { return b.hits }

func newBare(b *flowgen.Bulk) (func() job, error) {
	t := newTable(b)
	return func() job { return &bare{t: t} }, nil
}

var errLine = errors.New("a line of the workload does not parse")

func (b *bare) payload(data []byte, emit func(uint64, []byte)) error {
	b.in.Reset(data)
	var err error
	if b.zip == nil {
		b.zip, err = gzip.NewReader(&b.in)
	} else {
		err = b.zip.Reset(&b.in)
	}
	if err != nil {
		return err
	}
	b.text.Reset()
	if _, err := io.Copy(&b.text, b.zip); err != nil {
		return err
	}
	key := []byte(`"message":"`)
	for rest := b.text.Bytes(); ; {
		i := bytes.Index(rest, key)
		if i < 0 {
			return nil
		}
		rest = rest[i+len(key):]
		end := bytes.IndexByte(rest, '"')
		if end < 0 {
			return errLine
		}
		if !b.line(rest[:end], emit) {
			return errLine
		}
		rest = rest[end:]
	}
}

func (b *bare) line(line []byte, emit func(uint64, []byte)) bool {
	var f [14][]byte
	n := 0
	for n < len(f) {
		i := bytes.IndexByte(line, ' ')
		if i < 0 {
			f[n] = line
			n++
			break
		}
		f[n] = line[:i]
		line = line[i+1:]
		n++
	}
	if n != len(f) {
		return false
	}
	src, ok1 := ipv4(f[3])
	dst, ok2 := ipv4(f[4])
	packets, ok3 := number(f[8])
	size, ok4 := number(f[9])
	start, ok5 := number(f[10])
	end, ok6 := number(f[11])
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 {
		return false
	}
	from, to := b.t.owner(src, start*1000, end*1000), b.t.owner(dst, start*1000, end*1000)
	b.n++
	r := b.row[:0]
	r = append(r, `{"time":`...)
	r = strconv.AppendInt(r, start*1000, 10)
	r = append(r, `,"flow_start":`...)
	r = strconv.AppendInt(r, start*1000, 10)
	r = append(r, `,"flow_end":`...)
	r = strconv.AppendInt(r, end*1000, 10)
	r = append(append(append(r, `,"src_ip":"`...), f[3]...), '"')
	r = append(append(append(r, `,"dst_ip":"`...), f[4]...), '"')
	r = append(append(append(r, `,"src_port":"`...), f[5]...), '"')
	r = append(append(append(r, `,"dst_port":"`...), f[6]...), '"')
	r = append(append(append(r, `,"protocol":"`...), f[7]...), '"')
	r = append(append(append(r, `,"eni":"`...), f[2]...), '"')
	r = append(append(append(r, `,"action":"`...), f[12]...), '"')
	r = append(r, `,"packets":`...)
	r = strconv.AppendInt(r, packets, 10)
	r = append(r, `,"bytes":`...)
	r = strconv.AppendInt(r, size, 10)
	r = b.side(r, 0, from)
	r = b.side(r, 1, to)
	r = append(r, `,"flows":1,"client":"unknown","counted":true,"observed_at":"src","path":"same-vpc","row_id":"0123456789abcdef.`...)
	r = strconv.AppendInt(r, int64(b.n%500), 10)
	r = append(r, `"}`...)
	b.row = r
	emit(uint64(uint32(from))<<32|uint64(uint32(to)), r)
	return true
}

func (b *bare) side(r []byte, side, workload int) []byte {
	if workload >= 0 {
		b.hits++
		return append(r, b.t.frags[side][workload]...)
	}
	if side == 0 {
		return append(r, `,"src_app":"unknown","src_grade":"unknown"`...)
	}
	return append(r, `,"dst_app":"unknown","dst_grade":"unknown"`...)
}

func ipv4(s []byte) (uint32, bool) {
	var ip, part uint32
	dots := 0
	for _, c := range s {
		if c == '.' {
			ip, part = ip<<8|part, 0
			dots++
			continue
		}
		part = part*10 + uint32(c-'0')
	}
	return ip<<8 | part, dots == 3
}

func number(s []byte) (int64, bool) {
	var n int64
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, len(s) > 0
}
