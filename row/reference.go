package row

import (
	"fmt"
	"slices"
	"strings"
)

// Reference returns the reference page of both kinds of rows as Markdown.
func Reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	columns := Of(Raw)
	for _, set := range Sets() {
		fmt.Fprintf(&b, "\n## Set `%s`\n\n%s.\n\n", set.Name, capital(set.Doc))
		b.WriteString("| column | type | always there | meaning |\n| --- | --- | --- | --- |\n")
		for i := range columns {
			c := &columns[i]
			if c.Set != set.Name {
				continue
			}
			c.reference(&b)
		}
	}
	b.WriteString(minuteHead)
	for _, c := range DefaultConfig().Columns(Minute) {
		c.reference(&b)
	}
	b.WriteString("\nOther dimensions that `minute_dimensions` may name: ")
	var others []string
	for _, c := range Of(Minute) {
		if c.Role == Dimension && !slices.Contains(DefaultMinuteDimensions(), c.Name) {
			others = append(others, "`"+c.Name+"`")
		}
	}
	b.WriteString(strings.Join(others, ", ") + ".\n")
	return b.String()
}

// reference writes c as a line of a table.
func (c *Column) reference(b *strings.Builder) {
	typ := c.Type.String()
	if c.Unit != "" {
		typ += ", " + c.Unit
	}
	always := "yes"
	if c.Optional {
		always = "no"
	}
	doc := c.Doc
	if c.Values != nil && c.Type == String {
		doc += " One of `" + strings.Join(c.Values, "`, `") + "`."
	}
	fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", c.Name, typ, always, doc)
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

const minuteHead = `
## Rolled-up rows: ` + "`flows_1m`" + `

One row of ` + "`flows_1m`" + ` is the sum of all records whose flow started in one minute and whose dimensions are equal; a commit may cut one row into several, which
Druid's own roll-up unites, so sum and never count rows. ` + "`bytes`" + `, ` + "`packets`" + ` and ` + "`flows`" + ` hold counted observations only: a plain ` + "`SUM`" + ` holds each flow once.

The setting ` + "`rows.minute_dimensions`" + ` chooses the dimensions; these are the default ones. For validators there is [rows_1m.schema.json](rows_1m.schema.json), which
allows every dimension.

| column | type | always there | meaning |
| --- | --- | --- | --- |
`

const referenceHead = `# Rows

<!-- Generated from the column catalogue (package row). Change it there, then: go test ./row -run TestReferenceIsCurrent -update -->

One row of ` + "`flows_raw`" + ` is one flow-log record with both of its ends named. It is one JSON object. A column whose value is
absent is left out, never null or empty. Ids and ports are strings, as nobody adds them up; times are Unix milliseconds.

For validators there is [rows.schema.json](rows.schema.json).

Set ` + "`core`" + ` is always written. The setting ` + "`column_sets`" + ` turns the others on.

Names and reserved tokens: ` + "`src_app`" + ` and ` + "`dst_app`" + ` hold the name of an application or one of the tokens ` + "`unknown`" + `,
` + "`ambiguous`" + `, ` + "`internet`" + ` and ` + "`aws:<SERVICE>`" + `. An application whose name equals a token, begins with ` + "`aws:`" + ` or begins with
` + "`=`" + ` has one ` + "`=`" + ` put before it: a tag with the value ` + "`internet`" + ` gives ` + "`=internet`" + `.
`
