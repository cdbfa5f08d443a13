package pipeline

import (
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
	payloadOK        = "ok"
	// controlMessage is the messageType of CloudWatch Logs' health checks.
	controlMessage = "CONTROL_MESSAGE"
)

// unfolder is what one goroutine needs to turn payloads into Records, one payload at a time.
type unfolder struct {
	reader  *envelope.Reader
	decoder *flowlog.Decoder
	chooser *flowlog.Chooser

	payload *stream.Payload
	// origin describes the envelope of the present line; meta is what it was made from, with strings of our own.
	origin  flowlog.Origin
	meta    envelope.Meta
	known   bool // meta and origin are set
	control bool
	// format is nil when no rule gives one. header is the layout that a header line gave, outside of envelopes.
	format, header *flowlog.Format
	// number is the place of origin in the slice's batch; noOrigin when it was not added yet.
	number uint32
	seen   seen
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

// begin starts on p. h is the header line that the partition gave before, if any.
func (u *unfolder) begin(p *stream.Payload, h *flowlog.Format) {
	u.payload, u.known, u.header, u.number = p, false, h, noOrigin
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
	if m == nil {
		m = &envelope.Meta{}
	}
	if u.known && m.LogStream == u.meta.LogStream && m.LogGroup == u.meta.LogGroup && m.Owner == u.meta.Owner &&
		m.MessageType == u.meta.MessageType && m.Account == u.meta.Account {
		return
	}
	u.tellSeen(h)
	u.meta = envelope.Meta{
		MessageType: keep(u.meta.MessageType, m.MessageType),
		Owner:       keep(u.meta.Owner, m.Owner),
		LogGroup:    keep(u.meta.LogGroup, m.LogGroup),
		LogStream:   keep(u.meta.LogStream, m.LogStream),
		Account:     keep(u.meta.Account, m.Account),
	}
	u.known, u.number = true, noOrigin
	u.control = u.meta.MessageType == controlMessage
	u.origin = flowlog.Origin{
		Position: string(u.payload.At), Arrived: u.payload.Arrived,
		Owner: u.meta.Owner, LogGroup: u.meta.LogGroup, LogStream: u.meta.LogStream,
	}
	if u.meta.Account != "" {
		u.origin.Owner = u.meta.Account
	}
	u.choose()
}

// keep returns next, as the string that is there already when they are equal: next is borrowed.
func keep(have, next string) string {
	if have == next {
		return have
	}
	return strings.Clone(next)
}

// choose takes the layout for the present envelope: a header's, else that of a rule.
func (u *unfolder) choose() {
	if u.header != nil && u.meta.LogGroup == "" {
		u.format = u.header
		return
	}
	u.format, _ = u.chooser.Choose(u.meta.LogGroup, u.meta.LogStream, u.origin.Owner)
}

// takeHeader makes line the layout of what follows, if it is a header. Outside of an envelope it stays so for the
// partition: the parts of one file share the header of the first.
func (u *unfolder) takeHeader(h *handler, line []byte) bool {
	if !flowlog.IsHeader(line) {
		return false
	}
	f, err := u.chooser.Header(line)
	if err != nil {
		return false
	}
	u.format, u.header = f, f
	if u.meta.LogGroup == "" {
		h.header = f
	}
	return true
}

// tellSeen adds what the present envelope brought to its log group.
func (u *unfolder) tellSeen(h *handler) {
	if u.known && u.seen.lines > 0 && !u.control {
		u.seen.group, u.seen.owner, u.seen.format, u.seen.header = u.meta.LogGroup, u.origin.Owner, u.format, u.format != nil && u.format == u.header
		h.p.groups.add(u.seen, time.Now())
	}
	u.seen = seen{}
}

// ctxEvery is after how many lines decode looks whether it should stop.
const ctxEvery = 1 << 12

// decode appends the lines of the present payload to s, until the payload ends or what s holds reaches limit.
func (h *handler) decode(ctx context.Context, u *unfolder, in *intake, s *slice, limit int64) (ended bool, err error) {
	u.number = noOrigin // another slice may have begun since
	var lineBytes int64
	defer func() {
		s.lines += lineBytes
		h.p.metrics.lineBytes.Add(float64(lineBytes))
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
		lineBytes += int64(len(line)) + 1
		s.tally.lines++
		u.enter(h)
		if u.control {
			s.tally.skipped.add(SkippedControl, 1)
			continue
		}
		u.seen.lines++
		if index == 0 && u.takeHeader(h, line) {
			s.tally.skipped.add(SkippedHeader, 1)
			continue
		}
		if u.format == nil {
			if err := h.rejectLine(ctx, u, s, RejectedNoFormat, line, index); err != nil {
				return false, err
			}
			continue
		}
		if u.number == noOrigin {
			u.number = uint32(len(s.batch.Origins))
			s.batch.Origins = append(s.batch.Origins, u.origin)
		}
		reason := u.decoder.Append(s.batch, u.format, line, u.number, index)
		if reason != flowlog.ReasonNone {
			if err := h.rejectLine(ctx, u, s, reason.String(), line, index); err != nil {
				return false, err
			}
			continue
		}
		last := len(s.batch.Records) - 1
		switch s.batch.Records[last].Status {
		case flowlog.StatusNoData:
			s.tally.skipped.add(SkippedNoData, 1)
		case flowlog.StatusSkipData:
			s.tally.skipped.add(SkippedSkipData, 1)
		default:
			s.tally.decoded++
			s.cost += int64(len(line)) + recordCost
			continue
		}
		s.batch.Records = s.batch.Records[:last]
		s.cost += int64(len(line)) // its bytes stay in the batch
	}
	return false, nil
}

// faultOther is a fault that the envelope's Reader gave no name to.
const faultOther = "other"

func faultOf(err error) string {
	if f, ok := errors.AsType[*envelope.FaultError](err); ok {
		return f.Fault.String()
	}
	return faultOther
}

// endPayload enters the payload into its own book, and a faulty one into the dead letter.
func (h *handler) endPayload(ctx context.Context, u *unfolder, s *slice) error {
	u.tellSeen(h)
	fault := u.reader.Err()
	if fault == nil {
		s.tally.payloads.add(payloadOK, 1)
		return nil
	}
	p := u.payload
	reason := faultOf(fault)
	s.tally.payloads.add(reason, 1)
	return h.reject(ctx, sink.Letter{
		Partition: h.partition, At: p.At, Index: -1, Reason: reason, Detail: fault.Error(), Data: p.Data, Size: len(p.Data),
	}, u.meta.LogGroup, h.p.rejects.wants(time.Now()))
}
