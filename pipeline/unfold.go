package pipeline

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"dredge/flowlog"
	"dredge/flowlog/envelope"
	"dredge/sink"
	"dredge/stream"
)

// Reasons that the pipeline itself gives; all others are those of flowlog and envelope.
const (
	// RejectedNoFormat is a line for whose source no rule gives a layout.
	RejectedNoFormat = "no_format"
	// RejectedMalformed is a JSON object that is neither an envelope nor a line nor a record.
	RejectedMalformed = "malformed"
	payloadOK         = "ok"
	// faultOther is a fault that the envelope's Reader gave no name to.
	faultOther = "other"
)

// unfolder is what one goroutine needs to turn payloads into Records, one payload at a time.
type unfolder struct {
	reader  *envelope.Reader
	decoder *flowlog.Decoder
	chooser *flowlog.Chooser

	payload *stream.Payload
	// meta is the envelope of the present line, and origin what rows say of it, once known.
	meta   envelope.Meta
	origin flowlog.Origin
	known  bool
	// number is the place of origin in the slice's batch; noOrigin when it was not added yet.
	number uint32
	// rule is the layout that the rules give for this envelope, nil when there is none.
	rule *flowlog.Format
	// header is the layout of headerText, the latest header line.
	header     *flowlog.Format
	headerText []byte
	seen       seen
}

const noOrigin = ^uint32(0)

func newUnfolder(c Config) *unfolder {
	chooser, err := flowlog.NewChooser(c.Formats)
	if err != nil {
		panic("BUG: the rules were valid before: " + err.Error())
	}
	return &unfolder{
		reader:  envelope.NewReader(int64(c.MaxInflated), int(c.MaxLine)),
		decoder: flowlog.NewDecoder(),
		chooser: chooser,
	}
}

// begin starts on p.
func (u *unfolder) begin(p *stream.Payload) {
	u.payload, u.known, u.number = p, false, noOrigin
	u.reader.Reset(p.Data)
}

// forget drops what is borrowed.
func (u *unfolder) forget() {
	u.payload, u.known = nil, false
	u.reader.Reset(nil)
}

// enter takes note of the envelope of the present line when it is another than before.
func (u *unfolder) enter(h *handler) {
	m := u.reader.Meta()
	if u.known && *m == u.meta {
		return
	}
	u.tellSeen(h)
	u.meta, u.known, u.number = *m, true, noOrigin
	u.origin = flowlog.Origin{
		Position: string(u.payload.At), Arrived: u.payload.Arrived, Owner: m.Owner, LogGroup: m.LogGroup, LogStream: m.LogStream,
	}
	if m.Account != "" {
		u.origin.Owner = m.Account
	}
	u.rule, _ = u.chooser.Choose(m.LogGroup, m.LogStream, u.origin.Owner)
}

// format is the layout of the present line: a header's, else that of a rule, else nil. Outside of an envelope a header line
// holds for the rest of the partition, because the parts of one file share the header of the first.
func (u *unfolder) format(h *handler) *flowlog.Format {
	text := u.reader.Header()
	if text == nil {
		if h.header != nil && u.meta.LogGroup == "" {
			u.seen.header = true
			return h.header
		}
		return u.rule
	}
	if u.header == nil || !bytes.Equal(text, u.headerText) {
		f, err := u.chooser.Header(text)
		if err != nil {
			return u.rule
		}
		u.header, u.headerText = f, append(u.headerText[:0], text...)
	}
	if u.reader.Kind() == envelope.KindLine && u.meta.LogGroup == "" {
		h.header = u.header
	}
	u.seen.header = true
	return u.header
}

// tellSeen adds what the present envelope brought to its log group.
func (u *unfolder) tellSeen(h *handler) {
	if u.known && u.seen.lines > 0 {
		u.seen.group, u.seen.owner = u.meta.LogGroup, u.origin.Owner
		h.p.groups.add(u.seen, time.Now())
	}
	u.seen = seen{}
}

// ctxEvery is after how many lines decode looks whether it should stop.
const ctxEvery = 1 << 12

// decode appends the lines of the present payload to s, until the payload ends or what s holds reaches limit.
func (h *handler) decode(ctx context.Context, u *unfolder, in *intake, s *slice, limit int64) (ended bool, err error) {
	u.number = noOrigin // another slice may have begun since
	before, repeated := s.lines, 0
	defer func() {
		h.p.metrics.lineBytes.Add(float64(s.lines - before))
		h.p.metrics.repeats.Add(float64(repeated))
	}()
	for s.cost < limit-recordCost {
		if in.line%ctxEvery == ctxEvery-1 && ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if !u.reader.Next() {
			return true, h.endPayload(ctx, u, s)
		}
		line, index := u.reader.Line(), in.line
		in.line++
		s.lines += int64(u.reader.Size()) + 1
		s.tally.lines++
		u.enter(h)
		u.seen.lines++
		if r := h.p.repeats; r != nil && r.again(h.partition, u.payload.At, &u.meta, u.reader.EventID()) {
			repeated++
		}
		f := u.format(h)
		u.seen.format = f
		switch {
		case u.reader.Kind() == envelope.KindMalformed:
			err = h.rejectLine(ctx, u, s, RejectedMalformed, f, index)
		case u.reader.TooLong():
			err = h.rejectLine(ctx, u, s, flowlog.ReasonTooLong.String(), f, index)
		case f == nil:
			err = h.rejectLine(ctx, u, s, RejectedNoFormat, f, index)
		default:
			if u.number == noOrigin {
				u.number = uint32(len(s.batch.Origins))
				s.batch.Origins = append(s.batch.Origins, u.origin)
			}
			if reason := u.decoder.Append(s.batch, f, line, u.number, index); reason != flowlog.ReasonNone {
				err = h.rejectLine(ctx, u, s, reason.String(), f, index)
			} else {
				s.keep(len(line), &u.seen)
			}
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// keep counts the record that was appended last, in group too when it is no flow. Such a one is taken away again; its bytes
// stay in the batch.
func (s *slice) keep(size int, group *seen) {
	s.cost += int64(size)
	last := len(s.batch.Records) - 1
	switch s.batch.Records[last].Status {
	case flowlog.StatusNoData:
		s.tally.skipped.add(SkippedNoData, 1)
		group.noData++
	case flowlog.StatusSkipData:
		s.tally.skipped.add(SkippedSkipData, 1)
		group.skipData++
	default:
		s.tally.decoded++
		s.cost += recordCost
		return
	}
	s.batch.Records = s.batch.Records[:last]
}

// endPayload enters the payload into its own book, and a faulty one into the dead letter. A control message has no line; it
// counts as one.
func (h *handler) endPayload(ctx context.Context, u *unfolder, s *slice) error {
	u.tellSeen(h)
	if n := int64(u.reader.Controls()); n > 0 {
		s.tally.lines += n
		s.tally.skipped.add(SkippedControl, n)
	}
	fault := u.reader.Err()
	if fault == nil {
		s.tally.payloads.add(payloadOK, 1)
		return nil
	}
	p, reason := u.payload, faultOther
	if f, ok := errors.AsType[*envelope.FaultError](fault); ok {
		reason = f.Fault.String()
	}
	s.tally.payloads.add(reason, 1)
	return h.reject(ctx, sink.Letter{
		Partition: h.partition, At: p.At, Index: -1, LogGroup: u.meta.LogGroup, LogStream: u.meta.LogStream, Account: u.origin.Owner,
		Reason: reason, Detail: strings.TrimPrefix(fault.Error(), reason+" "), Data: p.Data, Size: len(p.Data),
	}, h.p.rejects.wants(time.Now()))
}
