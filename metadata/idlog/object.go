package idlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/klauspost/compress/zstd"
)

// Kind says what a section holds.
type Kind uint8

// The kinds. Sections of a kind that a reader does not know are passed over and counted.
const (
	// Events is identity events, one JSON object per line.
	Events Kind = 1
	// Sightings is what traffic showed, in binary.
	Sightings Kind = 2
	// State is a piece of what a State wrote.
	State Kind = 3

	endOfObject Kind = 0xff
)

// Section is one piece of a segment or snapshot.
type Section struct {
	Kind    Kind
	Payload []byte
}

// Bounds of what is read and written.
const (
	// MaxSection is the largest section, inflated.
	MaxSection = 8 << 20
	// MaxObject is the largest object as it is stored.
	MaxObject = 64 << 20

	magic       = "DRDGID01"
	frameHeader = 16
	zstdFlag    = 1
	// smallSection is what is not worth compressing.
	smallSection = 256
)

// ErrCorrupt is wrapped by every error about bytes that are not what was written.
var ErrCorrupt = errors.New("corrupt")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}

//nolint:gochecknoglobals // read-only table
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// codec compresses sections. Its methods may be called by many goroutines at once.
type codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newCodec() (*codec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return nil, fmt.Errorf("making compressor: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxSection))
	if err != nil {
		return nil, fmt.Errorf("making decompressor: %w", err)
	}
	return &codec{enc, dec}, nil
}

func (c *codec) close() {
	_ = c.enc.Close() // it has no output of its own
	c.dec.Close()
}

// appendFrame appends a section to b: header (kind, flags, raw and stored size), checksum over both, stored bytes.
func (c *codec) appendFrame(b []byte, s Section) ([]byte, error) {
	if len(s.Payload) > MaxSection {
		return b, fmt.Errorf("section of %d bytes: at most %d are written", len(s.Payload), MaxSection)
	}
	at := len(b)
	b = append(b, make([]byte, frameHeader)...)
	flags := byte(0)
	if len(s.Payload) >= smallSection {
		b = c.enc.EncodeAll(s.Payload, b)
		flags = zstdFlag
	} else {
		b = append(b, s.Payload...)
	}
	seal(b[at:], s.Kind, flags, uint32(len(s.Payload)))
	return b, nil
}

func seal(frame []byte, k Kind, flags byte, raw uint32) {
	frame[0], frame[1], frame[2], frame[3] = byte(k), flags, 0, 0
	binary.LittleEndian.PutUint32(frame[4:], raw)
	binary.LittleEndian.PutUint32(frame[8:], uint32(len(frame)-frameHeader))
	sum := crc32.Update(crc32.Checksum(frame[:12], castagnoli), castagnoli, frame[frameHeader:])
	binary.LittleEndian.PutUint32(frame[12:], sum)
}

// wrapObject makes an object of n frames.
func wrapObject(frames []byte, n int) []byte {
	out := make([]byte, 0, len(magic)+len(frames)+frameHeader)
	out = append(append(out, magic...), frames...)
	end := make([]byte, frameHeader)
	seal(end, endOfObject, 0, uint32(n))
	return append(out, end...)
}

// frame is one checked frame of an object.
type frame struct {
	kind   Kind
	flags  byte
	raw    int
	stored []byte // of the object
}

// checkObject returns the frames of an object after all of them, and the object's end, proved to be whole.
func checkObject(data []byte) ([]frame, error) {
	if len(data) > MaxObject {
		return nil, corrupt("object of %d bytes; at most %d are read", len(data), MaxObject)
	}
	if len(data) < len(magic) || string(data[:len(magic)]) != magic {
		return nil, corrupt("no identity log object of this version")
	}
	var frames []frame
	for rest := data[len(magic):]; ; {
		if len(rest) < frameHeader {
			return nil, corrupt("cut off after %d sections", len(frames))
		}
		raw, stored := binary.LittleEndian.Uint32(rest[4:]), binary.LittleEndian.Uint32(rest[8:])
		if uint64(stored) > uint64(len(rest)-frameHeader) {
			return nil, corrupt("section %d is cut off", len(frames))
		}
		body := rest[frameHeader : frameHeader+stored]
		if crc32.Update(crc32.Checksum(rest[:12], castagnoli), castagnoli, body) != binary.LittleEndian.Uint32(rest[12:]) {
			return nil, corrupt("checksum of section %d differs", len(frames))
		}
		f := frame{Kind(rest[0]), rest[1], int(raw), body}
		rest = rest[frameHeader+stored:]
		if f.kind == endOfObject {
			if f.raw != len(frames) || len(rest) != 0 || stored != 0 {
				return nil, corrupt("%d sections and %d more bytes, written were %d", len(frames), len(rest), f.raw)
			}
			return frames, nil
		}
		if raw > MaxSection {
			return nil, corrupt("section of %d bytes; at most %d are read", raw, MaxSection)
		}
		frames = append(frames, f)
	}
}

// section inflates a frame into scratch, which may grow, and returns the section, which borrows it.
func (c *codec) section(f frame, scratch []byte) (Section, []byte, error) {
	switch f.flags {
	case 0:
		if len(f.stored) != f.raw {
			return Section{}, scratch, corrupt("section of %d bytes, written were %d", len(f.stored), f.raw)
		}
		return Section{f.kind, f.stored}, scratch, nil
	case zstdFlag:
		out, err := c.dec.DecodeAll(f.stored, scratch[:0])
		if err != nil {
			return Section{}, scratch, corrupt("%w", err)
		}
		if len(out) != f.raw {
			return Section{}, out, corrupt("section inflates to %d bytes, written were %d", len(out), f.raw)
		}
		return Section{f.kind, out}, out, nil
	}
	return Section{}, scratch, corrupt("section with unknown flags %#x", f.flags)
}

// each calls do for every section of an object that is whole. The payload is valid during the call.
func (c *codec) each(data []byte, do func(Section) error) error {
	frames, err := checkObject(data)
	if err != nil {
		return err
	}
	var scratch []byte
	for _, f := range frames {
		var s Section
		if s, scratch, err = c.section(f, scratch); err != nil {
			return err
		}
		if err := do(s); err != nil {
			return err
		}
	}
	return nil
}
