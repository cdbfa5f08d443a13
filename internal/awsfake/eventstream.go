package awsfake

import (
	"encoding/binary"
	"hash/crc32"
)

// header is a string header of an event stream message.
type header struct{ name, value string }

// appendMessage appends a message of application/vnd.amazon.eventstream:
//
//	total length | headers length | CRC of these 8 bytes | headers | payload | CRC of all before
//
// where every number has 4 bytes, big-endian.
func appendMessage(b []byte, headers []header, payload []byte) []byte {
	const typeString = 7
	start := len(b)
	b = append(b, make([]byte, 12)...)
	for _, h := range headers {
		b = append(append(b, byte(len(h.name))), h.name...)
		b = binary.BigEndian.AppendUint16(append(b, typeString), uint16(len(h.value)))
		b = append(b, h.value...)
	}
	prelude := b[start : start+12]
	binary.BigEndian.PutUint32(prelude[4:], uint32(len(b)-start-12))
	binary.BigEndian.PutUint32(prelude, uint32(len(b)-start+len(payload)+4))
	binary.BigEndian.PutUint32(prelude[8:], crc32.ChecksumIEEE(prelude[:8]))
	b = append(b, payload...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[start:]))
}

// event is a message with a document.
func (c *call) event(kind string, doc object) []byte {
	return appendMessage(nil, []header{{":message-type", "event"}, {":event-type", kind}, {":content-type", c.eventType()}}, c.encode(nil, doc))
}

// exception is a message that ends a stream with a modelled error.
func (c *call) exception(fault *apiError) []byte {
	return appendMessage(nil, []header{{":message-type", "exception"}, {":exception-type", fault.Code}, {":content-type", c.eventType()}},
		c.encode(nil, object{{"__type", fault.Code}, {"message", fault.Message}}))
}

func (c *call) eventType() string {
	switch c.format {
	case formatCBOR, formatRPC:
		return "application/cbor"
	default:
		return "application/json"
	}
}
