package flowgen

import (
	"bytes"
	"strconv"
	"time"

	"github.com/klauspost/compress/gzip"
)

// Payload is the data of one Kinesis record.
type Payload struct {
	PartitionKey string
	// Data belongs to the receiver.
	Data []byte
	// Arrive is the virtual time at which the stream gets it.
	Arrive time.Time
	// Lines is the number of flow-log lines; 0 for a control message.
	Lines int
	// LogGroup and LogStream say where the lines come from; layouts are configured by log group.
	LogGroup, LogStream string
	// Truth has an entry for every line, in order, when Config.Expect is set.
	Truth []Expected
}

// deliver packs the lines of one interval of f into payloads.
func (s *Sim) deliver(f *iface, from, to int64, lines []line, truths []Expected) {
	at := s.arrival(from, to)
	for i := range lines { // a start that is given late takes the end with it
		at = max(at, lines[i].end*1000+1_000)
	}
	v := f.subnet.vpc
	for len(lines) > 0 {
		n := min(len(lines), s.cfg.Logs.MaxLines)
		p := &Payload{
			PartitionKey: s.key(f.stream), Arrive: fromMillis(at), Lines: n, LogGroup: v.logGroup, LogStream: f.stream,
		}
		s.text = s.text[:0]
		if s.cfg.Logs.Envelope == CloudWatch {
			s.text = appendHead(s.text, v.account, v.logGroup, f.stream)
			for i := range n {
				s.events++
				s.text = appendEventHead(s.text, i, lines[i].start*1000, s.events)
				s.text = v.layout.appendLine(s.text, &lines[i])
				s.text = append(s.text, `"}`...)
			}
			s.text = append(s.text, "]}"...)
			p.Data = s.gzip(s.text)
		} else {
			for i := range n {
				s.text = append(v.layout.appendLine(s.text, &lines[i]), '\n')
			}
			p.Data = bytes.Clone(s.text)
		}
		if s.cfg.Expect || s.base != nil {
			p.Truth = append([]Expected(nil), truths[:n]...)
		}
		s.arrivals.push(at, Item{Arrive: p.Arrive, Payload: p})
		lines, truths = lines[n:], truths[n:]
	}
}

func (s *Sim) key(stream string) string {
	if s.cfg.Logs.RandomKeys {
		return strconv.FormatUint(s.keys.Uint64(), 16)
	}
	return stream
}

// appendHead begins a subscription message as CloudWatch Logs writes it. None of the names needs JSON escapes.
func appendHead(dst []byte, account, group, stream string) []byte {
	dst = append(dst, `{"messageType":"DATA_MESSAGE","owner":"`...)
	dst = append(dst, account...)
	dst = append(dst, `","logGroup":"`...)
	dst = append(dst, group...)
	dst = append(dst, `","logStream":"`...)
	dst = append(dst, stream...)
	return append(dst, `","subscriptionFilters":["to-kinesis"],"logEvents":[`...)
}

// appendEventHead begins one log event: its id has 56 digits and is unique.
func appendEventHead(dst []byte, i int, millis int64, n uint64) []byte {
	if i > 0 {
		dst = append(dst, ',')
	}
	dst = append(dst, `{"id":"`...)
	dst = appendPadded(dst, uint64(millis), 20, '3')
	dst = append(dst, "0000000000000000"...)
	dst = appendPadded(dst, n, 20, '0')
	dst = append(dst, `","timestamp":`...)
	dst = strconv.AppendInt(dst, millis, 10)
	return append(dst, `,"message":"`...)
}

func appendPadded(dst []byte, n uint64, width int, pad byte) []byte {
	var digits [20]byte
	text := strconv.AppendUint(digits[:0], n, 10)
	for range width - len(text) {
		dst = append(dst, pad)
	}
	return append(dst, text...)
}

// scheduleControl sends v's health checks.
func (s *Sim) scheduleControl(v *vpc, at int64) {
	s.world.push(at, func() {
		text := appendHead(nil, "CloudwatchLogs", "", "")
		text = bytes.Replace(text, []byte("DATA_MESSAGE"), []byte("CONTROL_MESSAGE"), 1)
		text = bytes.Replace(text, []byte(`["to-kinesis"]`), []byte(`[]`), 1)
		text = append(text, `{"id":"","timestamp":`...)
		text = strconv.AppendInt(text, at, 10)
		text = append(text, `,"message":"CWL CONTROL MESSAGE: Checking health of destination Kinesis stream."}]}`...)
		t := fromMillis(at)
		s.arrivals.push(at, Item{Arrive: t, Payload: &Payload{PartitionKey: s.key(v.logGroup), Data: s.gzip(text), Arrive: t}})
		s.scheduleControl(v, at+s.cfg.Logs.ControlEvery.Milliseconds())
	})
}

// gzip compresses like CloudWatch does; writing to a bytes.Buffer can't fail.
func (s *Sim) gzip(text []byte) []byte {
	var out bytes.Buffer
	s.zip.Reset(&out)
	_, _ = s.zip.Write(text)
	_ = s.zip.Close()
	return out.Bytes()
}

func newGzip(level int) (*gzip.Writer, error) { return gzip.NewWriterLevel(nil, level) }

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
