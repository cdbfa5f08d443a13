package encode_test

import (
	"testing"

	"dredge/row"
	"dredge/row/encode"
)

// Rows with equal keys have equal dimensions in text, and nearly all rows of the default dimensions have a key. Where dimensions come from
// elsewhere than a key has room for, there is none.
func TestMinuteKey(t *testing.T) {
	for _, x := range []struct {
		name  string
		dims  []string
		least int // in a hundred rows
	}{
		{"default", nil, 75},
		{"without applications", []string{"action", "src_vpc", "dst_vpc", "service_port"}, 75},
		{"one side", []string{"action", "dst_app"}, 75},
		{"the way", []string{"action", "path", "via_kind", "via_id"}, 75},
		{"tags", []string{"action", "src_app", "instance_tag"}, 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := row.DefaultConfig()
			c.MinuteDimensions = x.dims
			if x.name == "tags" {
				c.ColumnSets = append(c.ColumnSets, row.TagSet)
			}
			m, err := encode.NewMinute(c.Columns(row.Minute))
			if err != nil {
				t.Fatal(err)
			}
			const rows = 5000
			b, texts, keyed := mixBatch(rows), map[row.DimensionKey]string{}, 0
			for i := range b.Rows {
				switch i % 20 {
				case 0, 10:
					b.Rows[i].Src.App = "renamed by a rule"
				case 5:
					b.Rows[i].ViaKind, b.Rows[i].ViaID = "nat_gateway", "nat-0123456789abcdef0"
				}
				key, ok := m.Key(b, i)
				if !ok {
					continue
				}
				keyed++
				text := string(m.AppendDimensions(nil, b, i))
				if known, again := texts[key]; again && known != text {
					t.Fatalf("one key for\n%s and\n%s", known, text)
				}
				texts[key] = text
			}
			if least := rows * x.least / 100; keyed < least || x.least == 0 && keyed > 0 {
				t.Errorf("%d of %d rows have a key", keyed, rows)
			}
			if x.least > 0 && (len(texts) < 2 || keyed-len(texts) < 100) {
				t.Errorf("%d keys for %d rows: too few to compare", len(texts), keyed)
			}
		})
	}
}
