package lease

import (
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// expr builds the expressions of one conditional write. Every attribute goes through a placeholder, so no name can collide
// with one of DynamoDB's reserved words.
type expr struct {
	names             map[string]string
	values            item
	sets, adds        []string
	removes, requires []string
}

func newExpr() *expr { return &expr{names: map[string]string{}, values: item{}} }

func (e *expr) name(attr string) string {
	n := "#" + attr
	e.names[n] = attr
	return n
}

func (e *expr) value(v types.AttributeValue) string {
	n := ":v" + strconv.Itoa(len(e.values))
	e.values[n] = v
	return n
}

func (e *expr) set(attr string, v types.AttributeValue) {
	e.sets = append(e.sets, e.name(attr)+" = "+e.value(v))
}

func (e *expr) add(attr string, v types.AttributeValue) {
	e.adds = append(e.adds, e.name(attr)+" "+e.value(v))
}

func (e *expr) remove(attrs ...string) {
	for _, a := range attrs {
		e.removes = append(e.removes, e.name(a))
	}
}

func (e *expr) where(attr, op string, v types.AttributeValue) {
	e.requires = append(e.requires, e.name(attr)+" "+op+" "+e.value(v))
}

func (e *expr) whereAbsent(attr string) {
	e.requires = append(e.requires, "attribute_not_exists("+e.name(attr)+")")
}

// whereExists keeps an update from creating a row that lacks everything else.
func (e *expr) whereExists() {
	e.requires = append(e.requires, "attribute_exists("+e.name(attrKey)+")")
}

// whereOwners wants both owners as l has them, in an existing row.
func (e *expr) whereOwners(l Lease) {
	e.whereExists()
	for _, o := range []struct{ attr, want string }{{attrOwner, l.Owner}, {attrCheckpointOwner, l.CheckpointOwner}} {
		if o.want == "" {
			e.whereAbsent(o.attr)
		} else {
			e.where(o.attr, "=", text(o.want))
		}
	}
}

func (e *expr) empty() bool { return len(e.sets)+len(e.adds)+len(e.removes) == 0 }

func (e *expr) update() *string {
	var clauses []string
	for _, c := range []struct {
		verb  string
		parts []string
	}{{"SET", e.sets}, {"ADD", e.adds}, {"REMOVE", e.removes}} {
		if len(c.parts) > 0 {
			clauses = append(clauses, c.verb+" "+strings.Join(c.parts, ", "))
		}
	}
	return aws.String(strings.Join(clauses, " "))
}

func (e *expr) condition() *string { return aws.String(strings.Join(e.requires, " AND ")) }
