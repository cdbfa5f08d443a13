// Package s3test makes files as AWS delivers them to S3, for tests.
package s3test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"
)

// Gzip compresses text.
func Gzip(text []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(text) // into memory
	_ = z.Close()
	return out.Bytes()
}

// Parquet writes the lines below a header line as AWS does: names with underscores in their order, optional columns compressed with gzip,
// numbers as INT32 or INT64, null for what is missing.
func Parquet(text []byte) ([]byte, error) {
	header, rows, _ := bytes.Cut(text, []byte{'\n'})
	names := strings.Fields(string(header))
	group := parquet.Group{}
	columns := make([]column, len(names))
	for field, name := range names {
		c := column{name: strings.ReplaceAll(name, "-", "_"), field: field, node: parquet.String()}
		switch name {
		case "version", "srcport", "dstport", "protocol", "tcp-flags", "traffic-path":
			c.node = parquet.Leaf(parquet.Int32Type)
		case "packets", "bytes", "start", "end":
			c.node = parquet.Leaf(parquet.Int64Type)
		}
		columns[field] = c
		group[c.name] = parquet.Compressed(parquet.Optional(c.node), &parquet.Gzip)
	}
	slices.SortFunc(columns, func(a, b column) int { return strings.Compare(a.name, b.name) })
	var out bytes.Buffer
	w := parquet.NewGenericWriter[any](&out, parquet.NewSchema("flow_logs", group))
	cells := make(parquet.Row, len(columns))
	for line := range bytes.Lines(rows) {
		fields := bytes.Fields(line)
		if len(fields) != len(columns) {
			return nil, fmt.Errorf("line %q has %d fields, want %d", line, len(fields), len(columns))
		}
		for i, c := range columns {
			var err error
			if cells[i], err = c.cell(i, fields[c.field]); err != nil {
				return nil, err
			}
		}
		if _, err := w.WriteRows([]parquet.Row{cells}); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// column is one of the file, and where its text stands in a line.
type column struct {
	name  string
	field int
	node  parquet.Node
}

func (c column) cell(index int, text []byte) (parquet.Value, error) {
	if string(text) == "-" {
		return parquet.NullValue().Level(0, 0, index), nil
	}
	kind := c.node.Type().Kind()
	if kind == parquet.ByteArray {
		return parquet.ByteArrayValue(text).Level(0, 1, index), nil
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return parquet.Value{}, fmt.Errorf("column %s: %w", c.name, err)
	}
	if kind == parquet.Int32 {
		return parquet.Int32Value(int32(n)).Level(0, 1, index), nil
	}
	return parquet.Int64Value(n).Level(0, 1, index), nil
}
