package awsfake

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// object is a document of an answer; members whose value is nil are left out.
type object []member

type member struct {
	name  string
	value any
}

// list is a list of an answer.
type list []any

// appender is a value that encodes itself.
type appender interface {
	appendJSON(b []byte) []byte
	appendCBOR(b []byte, f format) []byte
}

// rawDocument is an answer that is encoded already.
type rawDocument string

// optional is nil for the zero value, so that the member is left out.
func optional[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

// encode appends v in the call's format.
func (c *call) encode(b []byte, v any) []byte {
	if doc, ok := v.(rawDocument); ok {
		return append(b, doc...)
	}
	if c.format == formatCBOR || c.format == formatRPC {
		return appendCBOR(b, v, c.format)
	}
	return appendJSON(b, v)
}

func appendJSON(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case appender:
		return v.appendJSON(b)
	case object:
		b = append(b, '{')
		first := true
		for _, m := range v {
			if m.value == nil {
				continue
			}
			if !first {
				b = append(b, ',')
			}
			first = false
			b = append(appendString(b, m.name), ':')
			b = appendJSON(b, m.value)
		}
		return append(b, '}')
	case list:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, e)
		}
		return append(b, ']')
	case []string:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, e)
		}
		return append(b, ']')
	case string:
		return appendString(b, v)
	case []byte:
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, v)
		return append(b, '"')
	case bool:
		return strconv.AppendBool(b, v)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64:
		return strconv.AppendFloat(b, v, 'f', -1, 64)
	case time.Time:
		return appendSeconds(b, v)
	default:
		panic(fmt.Sprintf("BUG: no JSON form for %T", v))
	}
}

// appendSeconds writes epoch seconds with milliseconds, as AWS writes timestamps in JSON.
func appendSeconds(b []byte, t time.Time) []byte {
	ms := t.UnixMilli()
	b = strconv.AppendInt(b, ms/1000, 10)
	if frac := ms % 1000; frac > 0 {
		b = append(b, '.', byte('0'+frac/100), byte('0'+frac/10%10), byte('0'+frac%10))
	}
	return b
}

func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				b = append(append(b, s[start:i]...), "\ufffd"...)
				start = i + 1
			}
			i += n
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		if c == '"' || c == '\\' {
			b = append(b, '\\', c)
		} else {
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}

// The major types of CBOR.
const (
	cborUint  = 0
	cborNeg   = 1
	cborBytes = 2
	cborText  = 3
	cborArray = 4
	cborMap   = 5
	cborTag   = 6
)

func appendHead(b []byte, major byte, n uint64) []byte {
	switch major <<= 5; {
	case n < 24:
		return append(b, major|byte(n))
	case n <= math.MaxUint8:
		return append(b, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(b, major|27), n)
	}
}

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, cborText, uint64(len(s))), s...)
}

func appendInt(b []byte, n int64) []byte {
	if n < 0 {
		return appendHead(b, cborNeg, uint64(-(n + 1)))
	}
	return appendHead(b, cborUint, uint64(n))
}

func appendCBOR(b []byte, v any, f format) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, 0xf6)
	case appender:
		return v.appendCBOR(b, f)
	case object:
		n := 0
		for _, m := range v {
			if m.value != nil {
				n++
			}
		}
		b = appendHead(b, cborMap, uint64(n))
		for _, m := range v {
			if m.value != nil {
				b = appendCBOR(appendText(b, m.name), m.value, f)
			}
		}
		return b
	case list:
		b = appendHead(b, cborArray, uint64(len(v)))
		for _, e := range v {
			b = appendCBOR(b, e, f)
		}
		return b
	case []string:
		b = appendHead(b, cborArray, uint64(len(v)))
		for _, e := range v {
			b = appendText(b, e)
		}
		return b
	case string:
		return appendText(b, v)
	case []byte:
		return append(appendHead(b, cborBytes, uint64(len(v))), v...)
	case bool:
		if v {
			return append(b, 0xf5)
		}
		return append(b, 0xf4)
	case int:
		return appendInt(b, int64(v))
	case int64:
		return appendInt(b, v)
	case float64:
		return appendFloat(b, v)
	case time.Time:
		b = appendHead(b, cborTag, 1)
		if f == formatRPC {
			return appendFloat(b, float64(v.UnixMilli())/1000)
		}
		return appendInt(b, v.UnixMilli())
	default:
		panic(fmt.Sprintf("BUG: no CBOR form for %T", v))
	}
}

func appendFloat(b []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(append(b, 0xfb), math.Float64bits(v))
}
