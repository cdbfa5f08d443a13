package rules

import (
	"fmt"

	"dredge/row"
)

// Step is what one rule did about a row, in words.
type Step struct {
	Rule string `json:"rule"`
	// Applies says that the rule is for the row.
	Applies bool `json:"applies"`
	// Effect is what the rule did: dropped, sampled, tagged or redacted; "" when it did nothing.
	Effect string `json:"effect,omitempty"`
	Why    string `json:"why"`
}

// Explain says what each rule does about row i of b, and changes the row as they would; a row that they would drop stays as the rules
// before made it, and kept is false. identified says that the row has an id of its own: without one nobody knows which rows a sample keeps.
// It counts nothing.
func (rs *Rules) Explain(b *row.Batch, i int, identified bool) (steps []Step, kept bool) {
	return rs.inForce.Load().explain(b, i, identified)
}

func (rs *ruleSet) explain(b *row.Batch, i int, identified bool) (steps []Step, kept bool) {
	s := rs.take()
	defer rs.give(s)
	e := effect{weight: 1}
	defer func() { rs.change(b, i, &e, s) }()
	for k := range rs.list {
		r := &rs.list[k]
		step := Step{Rule: r.name}
		switch c, but := r.when.Failing(b, i, &s.condition), r.unless.Any(b, i, &s.condition); {
		case c != nil:
			step.Why = fmt.Sprintf("it is for other rows: %s is %s", c.Column().Name, shown(c.Column(), b, i))
		case but != nil:
			step.Why = fmt.Sprintf("it is not for rows of which %s is %s", but.Column().Name, shown(but.Column(), b, i))
		case r.action == sample && e.weight > 1:
			step.Applies, step.Why = true, "another rule samples the row already"
		case r.action == sample && identified && !chosen(b, i, r.sample):
			step.Applies, step.Effect = true, effectDropped
			step.Why = fmt.Sprintf("one of %d rows is kept, and by its row id this is another one", r.sample)
		case r.action == sample && !identified:
			step.Applies, step.Effect = true, effectSampled
			step.Why = fmt.Sprintf("one of %d rows is kept, by row id; without its place in a stream the row has none, so it is shown as if it were kept", r.sample)
		case r.action == drop:
			step.Applies, step.Effect, step.Why = true, effectDropped, "all its conditions hold"
		default:
			step.Applies, step.Effect, step.Why = true, r.effectOf(), "all its conditions hold"
		}
		steps = append(steps, step)
		if step.Effect == effectDropped {
			return steps, false
		}
		if step.Effect != "" {
			e.take(r)
		}
	}
	return steps, true
}

func shown(c *row.Column, b *row.Batch, i int) string {
	v, ok := c.Value(b, &b.Rows[i])
	if !ok {
		return "absent"
	}
	return fmt.Sprintf("%q", fmt.Sprint(v))
}
