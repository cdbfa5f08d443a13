package row

import (
	"fmt"
	"strings"
)

// Reference returns the reference page of the raw row as Markdown.
func Reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	columns := Catalogue()
	for _, set := range Sets() {
		fmt.Fprintf(&b, "\n## Set `%s`\n\n%s.\n\n", set.Name, capital(set.Doc))
		b.WriteString("| column | type | always there | meaning |\n| --- | --- | --- | --- |\n")
		for i := range columns {
			c := &columns[i]
			if c.Set != set.Name {
				continue
			}
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
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", c.Name, typ, always, doc)
		}
	}
	return b.String()
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

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
