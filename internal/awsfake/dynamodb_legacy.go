package awsfake

import (
	"maps"
	"slices"
)

// The parameters from before expressions, which the Java KCL still sends, are turned into the same conditions and updates.

// wireExpected is an entry of Expected, KeyConditions, QueryFilter or ScanFilter.
type wireExpected struct {
	Value              *wireAttribute
	Exists             *bool
	ComparisonOperator string
	AttributeValueList []wireAttribute
}

// wireUpdate is an entry of AttributeUpdates.
type wireUpdate struct {
	Action string
	Value  *wireAttribute
}

// legacyConditions joins entries by operator, AND by default; nil when there are none.
func legacyConditions(entries map[string]wireExpected, operator string) (condition, error) {
	if len(entries) == 0 {
		return nil, nil //nolint:nilnil // no condition
	}
	var parts []condition
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		c, err := entries[name].condition(name)
		if err != nil {
			return nil, err
		}
		parts = append(parts, c)
	}
	switch operator {
	case "", "AND":
		return and(parts), nil
	case "OR":
		return or(parts), nil
	default:
		return nil, failure("ValidationException", "ConditionalOperator %q; use AND or OR", operator)
	}
}

func (e wireExpected) condition(name string) (condition, error) {
	at := path{{name, -1}}
	if e.ComparisonOperator == "" {
		exists := e.Exists == nil || *e.Exists
		switch {
		case exists && e.Value != nil:
			a, err := e.Value.attribute()
			return comparison{"=", pathOperand{at}, literal{a}}, err
		case !exists && e.Value == nil:
			return not{existence{at}}, nil
		default:
			return nil, failure("ValidationException", "One or more parameter values were invalid: Value must be provided when Exists is true and must not be when it is false for Attribute: %s", name)
		}
	}
	values := e.AttributeValueList
	if e.Value != nil {
		values = append(values, *e.Value)
	}
	operands := make([]operand, len(values))
	for i := range values {
		a, err := values[i].attribute()
		if err != nil {
			return nil, err
		}
		operands[i] = literal{a}
	}
	want := map[string]int{"NULL": 0, "NOT_NULL": 0, "BETWEEN": 2}
	n, fixed := want[e.ComparisonOperator]
	if !fixed {
		n = 1
	}
	if len(operands) != n && (e.ComparisonOperator != "IN" || len(operands) == 0) {
		return nil, failure("ValidationException", "One or more parameter values were invalid: Invalid number of argument(s) for the %s ComparisonOperator", e.ComparisonOperator)
	}
	return legacyComparison(e.ComparisonOperator, at, operands)
}

func legacyComparison(operator string, at path, operands []operand) (condition, error) {
	here := pathOperand{at}
	if symbol, ok := map[string]string{"EQ": "=", "NE": "<>", "LE": "<=", "LT": "<", "GE": ">=", "GT": ">"}[operator]; ok {
		return comparison{symbol, here, operands[0]}, nil
	}
	switch operator {
	case "IN":
		return among{here, operands}, nil
	case "BETWEEN":
		return between{here, operands[0], operands[1]}, nil
	case "NOT_NULL":
		return existence{at}, nil
	case "NULL":
		return not{existence{at}}, nil
	case "CONTAINS":
		return contains{here, operands[0]}, nil
	case "NOT_CONTAINS":
		return and{existence{at}, not{contains{here, operands[0]}}}, nil
	case "BEGINS_WITH":
		return begins{here, operands[0]}, nil
	default:
		return nil, failure("ValidationException", "ComparisonOperator %q is unknown", operator)
	}
}

// legacyUpdate turns AttributeUpdates into an update.
func legacyUpdate(entries map[string]wireUpdate) (update, error) {
	var out update
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		e := entries[name]
		a := action{path: path{{name, -1}}}
		if e.Value != nil {
			value, err := e.Value.attribute()
			if err != nil {
				return nil, err
			}
			a.by = value
		}
		switch {
		case (e.Action == "" || e.Action == "PUT") && e.Value != nil:
			a.verb, a.to = "SET", operandSource{literal{a.by}}
		case e.Action == "DELETE" && e.Value == nil:
			a.verb = "REMOVE"
		case e.Action == "DELETE" && a.by.isSet():
			a.verb = "DELETE"
		case e.Action == "ADD" && (a.by.isSet() || a.by.kind == kindN || a.by.kind == kindL):
			a.verb = "ADD"
		default:
			return nil, failure("ValidationException", "One or more parameter values were invalid: Action %q with type %q is not supported for Attribute: %s", e.Action, a.by.kind, name)
		}
		out = append(out, a)
	}
	return out, nil
}
