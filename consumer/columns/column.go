package columns

import (
	"errors"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/parquet-go/parquet-go"
)

// column is a column of the file that is open at a row.
type column struct {
	name    string
	index   int
	kind    parquet.Kind
	perSec  int64 // of a timestamp; 0 is none
	date    bool
	account bool

	pages  parquet.Pages
	page   parquet.Page
	reader parquet.ValueReader
	values []parquet.Value
	buf    []parquet.Value
}

func (c *column) close() {
	if c.page != nil {
		parquet.Release(c.page)
	}
	if c.pages != nil {
		_ = c.pages.Close() // it was only read
	}
	c.page, c.pages, c.reader, c.values = nil, nil, nil, nil
}

// next returns the column's next value. It is valid until the following call.
func (c *column) next() (parquet.Value, error) {
	for len(c.values) == 0 {
		if c.reader == nil {
			page, err := c.pages.ReadPage()
			if errors.Is(err, io.EOF) {
				return parquet.Value{}, io.ErrUnexpectedEOF // fewer values than the group has rows
			}
			if err != nil {
				return parquet.Value{}, err
			}
			c.page, c.reader = page, page.Values()
		}
		n, err := c.reader.ReadValues(c.buf)
		c.values = c.buf[:n]
		if n > 0 {
			break // an error comes again
		}
		if err == nil {
			return parquet.Value{}, io.ErrNoProgress
		}
		if !errors.Is(err, io.EOF) {
			return parquet.Value{}, err
		}
		parquet.Release(c.page)
		c.page, c.reader = nil, nil
	}
	v := c.values[0]
	c.values = c.values[1:]
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
