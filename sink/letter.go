package sink

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"dredge/stream"
)

// Discard is the dead letter of a process that has none: it forgets every letter. Count says how many there were.
type Discard struct{}

// Put forgets l.
func (Discard) Put(context.Context, Letter) error { return nil }

// Flush has nothing to do.
func (Discard) Flush(context.Context) error { return nil }

// Count returns next with a counter before it: dredge_sink_dead_letters_total by reason counts the letters that next has taken.
// Whoever chooses the dead letter wraps it once, so that the count is the same for every kind, Discard too.
func Count(next DeadLetter, reg prometheus.Registerer) DeadLetter {
	c := &counted{
		next: next,
		letters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dredge_sink_dead_letters_total", Help: "Inputs that could not become rows, by reason.",
		}, []string{"reason"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dredge_sink_dead_letter_bytes_total", Help: "Bytes of inputs that could not become rows, before they were cut.",
		}),
	}
	reg.MustRegister(c.letters, c.bytes)
	return c
}

type counted struct {
	next    DeadLetter
	letters *prometheus.CounterVec
	bytes   prometheus.Counter
}

func (c *counted) Put(ctx context.Context, l Letter) error {
	if err := c.next.Put(ctx, l); err != nil {
		return err
	}
	c.letters.WithLabelValues(l.Reason).Inc()
	c.bytes.Add(float64(l.Size))
	return nil
}

func (c *counted) Flush(ctx context.Context) error { return c.next.Flush(ctx) }

// AppendLetter appends l as one line of JSON, without the newline: the form of every dead letter. Of l.Data at most maxData
// bytes are kept; "size" tells how many there were. Data that is text stands in "text", any other in "base64".
func AppendLetter(dst []byte, l Letter, at time.Time, maxData int) []byte {
	dst = append(dst, `{"time":"`...)
	dst = at.UTC().AppendFormat(dst, timeLayout)
	dst = appendString(append(dst, `","partition":`...), l.Partition)
	dst = appendString(append(dst, `,"position":`...), string(l.At))
	dst = strconv.AppendInt(append(dst, `,"index":`...), int64(l.Index), 10)
	for _, from := range [...]struct{ key, value string }{
		{`,"log_group":`, l.LogGroup}, {`,"log_stream":`, l.LogStream}, {`,"account":`, l.Account},
	} {
		if from.value != "" {
			dst = appendString(append(dst, from.key...), from.value)
		}
	}
	dst = appendString(append(dst, `,"reason":`...), l.Reason)
	dst = appendString(append(dst, `,"detail":`...), l.Detail)
	dst = strconv.AppendInt(append(dst, `,"size":`...), int64(l.Size), 10)
	data := l.Data
	if len(data) > maxData {
		data = data[:maxData]
		// The cut may have gone through a character.
		for cut := len(data); cut > 0 && cut > len(data)-utf8.UTFMax; cut-- {
			if utf8.RuneStart(l.Data[cut]) {
				if utf8.Valid(data[:cut]) {
					data = data[:cut]
				}
				break
			}
		}
	}
	if utf8.Valid(data) {
		dst = appendString(append(dst, `,"text":`...), string(data))
		return append(dst, '}')
	}
	dst = append(dst, `,"base64":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, data)
	return append(dst, `"}`...)
}

const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// appendString appends s as a JSON string. What is not UTF-8 becomes the replacement character.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

// MaxLetterLine bounds a line that ParseLetter takes.
const MaxLetterLine = 64 << 20

// ParseLetter reads what AppendLetter wrote, and the time of the letter.
func ParseLetter(line []byte) (Letter, time.Time, error) {
	if len(line) > MaxLetterLine {
		return Letter{}, time.Time{}, fmt.Errorf("reading a dead letter: %d bytes are more than %d", len(line), MaxLetterLine)
	}
	var j struct {
		Time      time.Time       `json:"time"`
		Partition string          `json:"partition"`
		Position  stream.Position `json:"position"`
		Index     int             `json:"index"`
		LogGroup  string          `json:"log_group"`
		LogStream string          `json:"log_stream"`
		Account   string          `json:"account"`
		Reason    string          `json:"reason"`
		Detail    string          `json:"detail"`
		Size      int             `json:"size"`
		Text      string          `json:"text"`
		Base64    []byte          `json:"base64"`
	}
	if err := json.Unmarshal(line, &j); err != nil {
		return Letter{}, time.Time{}, fmt.Errorf("reading a dead letter: %w", err)
	}
	l := Letter{
		Partition: j.Partition, At: j.Position, Index: j.Index, LogGroup: j.LogGroup, LogStream: j.LogStream, Account: j.Account,
		Reason: j.Reason, Detail: j.Detail, Size: j.Size, Data: j.Base64,
	}
	if j.Text != "" {
		l.Data = []byte(j.Text)
	}
	return l, j.Time, nil
}
