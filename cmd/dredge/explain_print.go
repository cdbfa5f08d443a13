package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"dredge/enrich/rules"
)

// write prints e for people.
func (e *explanation) write(out io.Writer) error {
	w := &printer{out: out}
	e.steps(w)
	w.delivery(e)
	return w.err
}

// steps prints the way to the row.
func (e *explanation) steps(w *printer) {
	if p := e.Place; p != nil {
		w.printf("from  %s at %s, line %d, arrived %s\n", p.Partition, p.Position, p.Index, p.Arrived)
	}
	w.printf("line  %s\n", e.Line)
	if e.Fields == nil {
		w.title("no row")
		w.printf("  %s\n", e.NoRow)
		return
	}
	w.title("fields")
	w.fields(e.Fields)
	if e.NoRow != "" {
		w.title("no row")
		w.printf("  %s\n", e.NoRow)
		return
	}
	w.title("addresses")
	w.printf("  source       %s port %d, %s\n", e.Source.Address, e.Source.Port, e.Source.Chosen)
	w.printf("  destination  %s port %d, %s\n", e.Destination.Address, e.Destination.Port, e.Destination.Chosen)
	w.title("interface and direction")
	name := e.Recorder.Interface
	if name == "" {
		name = "no interface"
	}
	if e.Recorder.Kind != "" {
		name += " (" + e.Recorder.Kind + ")"
	}
	if e.Recorder.Scope != "" {
		name += " in " + e.Recorder.Scope
	}
	w.printf("  recorded by  %s: %s\n", name, e.Recorder.Why)
	if e.Recorder.ViaKind != "" {
		w.printf("  via          %s %s\n", e.Recorder.ViaKind, e.Recorder.ViaID)
	}
	w.step("direction", e.Direction)
	w.end("source", e.Source)
	w.end("destination", e.Destination)
	w.title("conclusions")
	w.step("client", e.Client)
	w.step("observed at", e.Observed)
	w.step("counted", &e.Counted.step)
	w.printf("               source's flows are logged: %s; destination's: %s\n", yes(e.Counted.SourceLogged), yes(e.Counted.DestinationLogged))
	w.step("path", e.Path)
	if e.Segmentation != nil {
		w.step("segmentation", e.Segmentation)
	}
	w.rules(e.Rules)
	if e.Dropped {
		w.title("row, were it not dropped")
	} else {
		w.title("row")
	}
	w.fields(e.Row)
}

// printer keeps the first error, so that its callers read as the page they print.
type printer struct {
	out   io.Writer
	steps int
	err   error
}

func (w *printer) printf(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.out, format, args...)
	}
}

func (w *printer) title(s string) {
	w.steps++
	w.printf("\n%d  %s\n", w.steps, s)
}

func (w *printer) step(name string, s *step) {
	by := ""
	if s.By != "" {
		by = " (" + s.By + ")"
	}
	w.printf("  %-12s %s%s: %s\n", name, s.Value, by, s.Why)
}

// delivery prints how far a record came on its way to the sink.
func (w *printer) delivery(e *explanation) {
	d := e.Delivery
	if d == nil {
		return
	}
	w.title("delivery")
	acknowledged := "not known"
	if d.Acknowledged != nil {
		acknowledged = yes(*d.Acknowledged)
	}
	w.printf("  %-12s %s: %s\n", "acknowledged", acknowledged, d.Why)
	if d.Checkpoint != "" {
		w.printf("  %-12s %s\n", "checkpoint", d.Checkpoint)
	}
	if d.Owner != "" {
		w.printf("  %-12s %s\n", "read by", d.Owner)
	}
}

// rules prints those that are for the row, and how many are not.
func (w *printer) rules(steps []rules.Step) {
	if len(steps) == 0 {
		return
	}
	w.title("rules")
	for _, s := range steps {
		did := s.Effect
		if did == "" {
			did = "nothing"
		}
		w.printf("  %-12s %s: %s\n", s.Rule, did, s.Why)
	}
}

func (w *printer) end(which string, e *endStep) {
	w.title(which + " " + e.Address)
	w.step("scope", e.Scope)
	w.printf("  %-12s %s to %s\n", "asked for", e.AskedFrom, e.AskedTo)
	if len(e.Tenures) == 0 {
		w.printf("  %-12s nobody of ours is known to have had this address there\n", "owners")
	} else {
		w.printf("  owners\n")
		w.tenures(e.Tenures)
	}
	w.step("grade", e.Grade)
	if e.Node != nil {
		var parts []string
		for _, s := range []string{e.Node.Kind, e.Node.Instance, e.Node.ENI, e.Node.Name} {
			if s != "" {
				parts = append(parts, s)
			}
		}
		w.printf("  %-12s %s %s\n", "endpoint", e.Node.Owner, strings.Join(parts, " "))
	}
	if len(e.Meant) > 0 {
		w.printf("  %-12s %s\n", "candidates", strings.Join(e.Meant, ", "))
	}
	if p := e.Public; p != nil {
		w.printf("  %-12s %s\n", "public", p.Why)
		for _, x := range [...]struct{ name, value string }{
			{"record's service", p.RecordService},
			{"published service", p.Service},
			{"region", p.Region},
			{"country", p.Country},
			{"AS", autonomous(p)},
		} {
			if x.value != "" {
				w.printf("               %s %s\n", x.name, x.value)
			}
		}
	}
	w.printf("  %-12s %s\n", "app", e.App)
}

func autonomous(p *publicStep) string {
	if p.ASN == 0 {
		return ""
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", p.ASN, p.Organization))
}

func (w *printer) tenures(list []tenureStep) {
	if w.err != nil {
		return
	}
	t := tabwriter.NewWriter(w.out, 0, 0, 2, ' ', 0)
	for _, x := range list {
		mark, to, app := " ", x.To, x.App
		if x.Meets {
			mark = "*"
		}
		if to == "" {
			to = "now"
		}
		if app == "" {
			app = "-"
		}
		port := ""
		if x.Port {
			port = "this port only, "
		}
		fmt.Fprintf(t, "    %s %s\t%s\t%s to %s\t%s%s\n", mark, x.Owner, app, x.From, to, port, x.Evidence)
	}
	w.err = t.Flush()
}

// fields prints a flat JSON object, a key per line, in its order. Absent values are left out.
func (w *printer) fields(object json.RawMessage) {
	dec := json.NewDecoder(bytes.NewReader(object))
	dec.UseNumber()
	if _, err := dec.Token(); err != nil {
		w.err = err
		return
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			w.err = err
			return
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			w.err = err
			return
		}
		if text := string(value); text != "null" {
			w.printf("  %-20s %s\n", key, strings.Trim(text, `"`))
		}
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
