package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

func heading(w io.Writer, o *options, took time.Duration) {
	command := "make truth"
	if len(o.said) > 0 {
		command += fmt.Sprintf(" ARGS=%q", strings.Join(o.said, " "))
	}
	fmt.Fprintf(w, "# Names against the truth\n\n%s, seed %d, `%s` in %s. Simulated estates run on virtual time through the real identity store, gate and join. Both ends of every\n"+
		"line are judged: percentages are of the ends whose owner had an application; a wrong name is one that the owner did not have when the\n"+
		"packets passed, or any name where there was none; a phantom pair are two applications that a row shows talking and that never did. \"The\n"+
		"rules allow\" is how many ends the same gate and join name over a store that was told every hold to the millisecond before it began, with\n"+
		"progress and heartbeats coming when they do: no better source could name more without breaking a rule of docs/design.md.\n\n",
		time.Now().UTC().Format(time.DateOnly), o.seed, command, took.Round(time.Second))
}

// shares are the grades of unnamed ends that the summary tells apart.
var shares = [...]string{"ambiguous", "border", "provisional"} //nolint:gochecknoglobals // read-only table

func summary(w io.Writer, list []*outcome) {
	fmt.Fprint(w, "| scenario | time | hold | owned ends | wrong | phantom pairs | named % | the rules allow % | ambiguous % | border % | provisional % | others % | |\n"+
		"|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, oc := range list {
		s := &oc.result.dredge
		most := ""
		if oc.most != nil {
			most = fmt.Sprintf("%.3f", percent(oc.most.Named, oc.most.Ends))
		}
		fmt.Fprintf(w, "| %s | %s | %s | %d | %d | %d | %.3f | %s |", oc.name, short(oc.length), short(oc.hold), s.Ends, s.Wrong, s.phantom, percent(s.Named, s.Ends), most)
		var unnamed, told int64
		for _, n := range oc.result.why {
			unnamed += n
		}
		for _, grade := range shares {
			var n int64
			for why, k := range oc.result.why {
				if strings.HasPrefix(why, grade+"/") {
					n += k
				}
			}
			told += n
			fmt.Fprintf(w, " %.3f |", percent(n, s.Ends))
		}
		fmt.Fprintf(w, " %.3f | %s |\n", percent(unnamed-told, s.Ends), oc.verdict())
	}
	fmt.Fprintln(w)
}

func (oc *outcome) verdict() string {
	switch {
	case oc.limit:
		return "not judged: decision 0004"
	case oc.judge() != nil:
		return "**failed**"
	case oc.share > 0:
		return fmt.Sprintf("0 wrong, at least %.4g %% named", 100*oc.share)
	default:
		return "0 wrong"
	}
}

// short is d without the zeros that a duration's text ends in.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = text[:len(text)-len("0s")]
	}
	if strings.HasSuffix(text, "h0m") {
		text = text[:len(text)-len("0m")]
	}
	return text
}

func (oc *outcome) write(w io.Writer, examples int) {
	r := oc.result
	fmt.Fprintf(w, "## %s\n\n%s. %d lines, %.1f %% of them held back, for %s at the most; %.1f owners came or went per second.\n\n", oc.name, oc.says, r.lines, percent(r.held, r.lines), short(oc.hold), r.churn)
	fmt.Fprint(w, "| join | wrong | wrong % | wrong bytes % | unattributed % | ambiguous % | named % | pairs | phantom pairs |\n|---|---|---|---|---|---|---|---|---|\n")
	for i, s := range r.scores() {
		name := [...]string{"latest value, on arrival", "versioned, at start, on arrival", "versioned, at start, 5 min later", "**dredge**"}[i]
		none := s.Ends - s.Named - s.Ambiguous
		fmt.Fprintf(w, "| %s | %d | %.4f | %.4f | %.3f | %.3f | %.3f | %d | %d |\n", name, s.Wrong, percent(s.Wrong, s.Ends), percent(s.WrongBytes, s.Bytes),
			percent(none, s.Ends), percent(s.Ambiguous, s.Ends), percent(s.Named, s.Ends), len(s.pairs), s.phantom)
	}
	fmt.Fprint(w, "\nWhy owned ends have no name:\n\n| grade | reason | ends | % |\n|---|---|---|---|\n")
	for _, k := range slices.SortedFunc(maps.Keys(r.why), func(a, b string) int { return cmp.Or(cmp.Compare(r.why[b], r.why[a]), cmp.Compare(a, b)) }) {
		grade, reason, _ := strings.Cut(k, "/")
		fmt.Fprintf(w, "| %s | %s | %d | %.4f |\n", grade, reason, r.why[k], percent(r.why[k], r.dredge.Ends))
	}
	fmt.Fprintln(w)
	if len(r.examples) > 0 && examples > 0 {
		for _, x := range r.examples[:min(len(r.examples), examples)] {
			fmt.Fprintf(w, "- %s\n", x)
		}
		fmt.Fprintln(w)
	}
}
