package columns

import (
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding"
)

// column is a column of the file that is open at a row.
type column struct {
	name     string
	index    int
	kind     parquet.Kind
	perSec   int64 // of a timestamp; 0 is none
	date     bool
	account  bool
	maxLevel byte // of a value that is there

	pages parquet.Pages
	page  parquet.Page
	// Of the page: at is the next of its n values, stored the next of those that are no null.
	at, n, stored int
	levels        []byte // one for each value; nil when none can be null
	// What the page holds lies in one of these, as its column is written; reader is for all that is seldom.
	form    form
	int32s  []int32
	int64s  []int64
	bytes   []byte
	offsets []uint32
	reader  parquet.ValueReader
	values  []parquet.Value
	buf     []parquet.Value
	dict    dictionary
}

// form is how the values of a page lie in memory.
type form int

const (
	inReader form = iota
	inInt32s
	inInt64s
	inBytes
	inDictionary // int32s are places in it
)

// dictionary keeps the texts of a dictionary's values, each of which is made once.
type dictionary struct {
	parquet.Dictionary
	texts []span
	data  []byte
}

// span is a part of dictionary.data. No text is empty, so an empty one was not made yet.
type span struct{ from, to uint32 }

const (
	// maxCached bounds the values of a dictionary whose texts are kept, and maxCachedText their bytes; those of others are made each time.
	maxCached     = 1 << 16
	maxCachedText = 1 << 20
)

func (c *column) close() {
	c.release()
	if c.pages != nil {
		_ = c.pages.Close() // it was only read
	}
	c.pages, c.dict.Dictionary = nil, nil
}

func (c *column) release() {
	if c.page != nil {
		parquet.Release(c.page)
	}
	c.page, c.reader, c.values, c.levels = nil, nil, nil, nil
	c.int32s, c.int64s, c.bytes, c.offsets = nil, nil, nil, nil
	c.at, c.n = 0, 0
}

// load goes to the next page that has a value.
func (c *column) load() error {
	for c.at == c.n {
		c.release()
		page, err := c.pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF // fewer values than the group has rows
		}
		if err != nil {
			return err
		}
		c.page, c.n, c.stored = page, int(page.NumValues()), 0
		c.levels = page.DefinitionLevels()
		if c.maxLevel > 0 && len(c.levels) != c.n {
			c.form, c.reader = inReader, page.Values()
			continue
		}
		data := page.Data()
		switch dict := page.Dictionary(); {
		case dict != nil && data.Kind() == encoding.Int32:
			c.form, c.int32s = inDictionary, data.Int32()
			c.dict.use(dict)
		case data.Kind() == encoding.Int32 && c.kind == parquet.Int32:
			c.form, c.int32s = inInt32s, data.Int32()
		case data.Kind() == encoding.Int64 && c.kind == parquet.Int64:
			c.form, c.int64s = inInt64s, data.Int64()
		case data.Kind() == encoding.ByteArray && c.kind == parquet.ByteArray:
			c.form = inBytes
			c.bytes, c.offsets = data.ByteArray()
		default:
			c.form, c.reader = inReader, page.Values()
		}
	}
	return nil
}

// appendNext appends the column's next value, as AWS writes it in text.
func (c *column) appendNext(dst []byte) ([]byte, error) {
	if c.at == c.n {
		if err := c.load(); err != nil {
			return dst, err
		}
	}
	if c.form == inReader {
		v, err := c.next()
		if err != nil {
			return dst, err
		}
		return c.append(dst, v), nil
	}
	i := c.at
	c.at++
	if c.maxLevel > 0 && c.levels[i] < c.maxLevel {
		return append(dst, '-'), nil
	}
	i = c.stored
	c.stored++
	switch c.form {
	case inInt32s:
		return c.appendInt(dst, int64(c.int32s[i])), nil
	case inInt64s:
		return c.appendInt(dst, c.int64s[i]), nil
	case inBytes:
		return appendText(dst, c.bytes[c.offsets[i]:c.offsets[i+1]]), nil
	default:
		return c.appendEntry(dst, c.int32s[i]), nil
	}
}

// use begins a dictionary, unless it is the present one.
func (d *dictionary) use(dict parquet.Dictionary) {
	if d.Dictionary == dict {
		return
	}
	d.Dictionary, d.data = dict, d.data[:0]
	n := dict.Len()
	if n > maxCached {
		n = 0
	}
	d.texts = slices.Grow(d.texts[:0], n)[:n]
	clear(d.texts)
}

// appendEntry appends the text of a dictionary's value.
func (c *column) appendEntry(dst []byte, i int32) []byte {
	d := &c.dict
	if int(i) >= len(d.texts) {
		return c.append(dst, d.Index(i))
	}
	at := d.texts[i]
	if at.to == at.from {
		from := len(dst)
		dst = c.append(dst, d.Index(i))
		if text := dst[from:]; len(d.data)+len(text) <= maxCachedText {
			d.texts[i] = span{uint32(len(d.data)), uint32(len(d.data) + len(text))}
			d.data = append(d.data, text...)
		}
		return dst
	}
	return append(dst, d.data[at.from:at.to]...)
}

// next returns the next value of c.reader. It is valid until the following call.
func (c *column) next() (parquet.Value, error) {
	if len(c.values) == 0 {
		n, err := c.reader.ReadValues(c.buf)
		if n == 0 {
			switch {
			case err == nil:
				return parquet.Value{}, io.ErrNoProgress
			case errors.Is(err, io.EOF):
				return parquet.Value{}, io.ErrUnexpectedEOF // fewer values than the page has
			}
			return parquet.Value{}, err
		}
		c.values = c.buf[:n] // an error comes again
	}
	v := c.values[0]
	c.values = c.values[1:]
	c.at++
	return v, nil
}

// accountDigits is how many an account id has; a number has lost its leading zeros.
const accountDigits = 12

// append writes v as AWS writes it in text.
func (c *column) append(dst []byte, v parquet.Value) []byte {
	if v.IsNull() {
		return append(dst, '-')
	}
	switch c.kind {
	case parquet.Boolean:
		return strconv.AppendBool(dst, v.Boolean())
	case parquet.Int32:
		return c.appendInt(dst, int64(v.Int32()))
	case parquet.Int64:
		return c.appendInt(dst, v.Int64())
	case parquet.Int96:
		// The time of old writers: nanoseconds of the day, and the Julian day.
		t := v.Int96()
		const epoch = 2440588
		return strconv.AppendInt(dst, (int64(t[2])-epoch)*86400+int64(uint64(t[1])<<32|uint64(t[0]))/int64(time.Second), 10)
	case parquet.Float:
		return c.appendFloat(dst, float64(v.Float()))
	case parquet.Double:
		return c.appendFloat(dst, v.Double())
	default:
		return appendText(dst, v.ByteArray())
	}
}

func (c *column) appendInt(dst []byte, n int64) []byte {
	switch {
	case c.perSec > 0:
		n /= c.perSec
	case c.date:
		n *= 86400
	case c.account && n >= 0:
		for limit, digits := int64(10), 1; digits < accountDigits; limit, digits = limit*10, digits+1 {
			if n < limit {
				dst = append(dst, "000000000000"[:accountDigits-digits]...)
				break
			}
		}
	}
	return strconv.AppendInt(dst, n, 10)
}

// appendFloat writes a number that a data frame made a float of, because others in its column are missing.
func (c *column) appendFloat(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return append(dst, '-')
	case f == math.Trunc(f) && math.Abs(f) < 1<<53:
		return c.appendInt(dst, int64(f))
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

// appendText writes a value as one field of a line: what stands for nothing as -, and spaces so that they don't end the field.
func appendText(dst, s []byte) []byte {
	switch string(s) {
	case "", "-", "None", "null", "nan", "NaN", "<NA>":
		return append(dst, '-')
	}
	for _, b := range s[:min(len(s), maxText)] {
		if b <= ' ' || b == 0x7f {
			const hex = "0123456789ABCDEF"
			dst = append(dst, '%', hex[b>>4], hex[b&15])
			continue
		}
		dst = append(dst, b)
	}
	return dst
}
