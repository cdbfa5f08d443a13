package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"dredge/enrich"
	"dredge/enrich/rules"
	"dredge/flowlog"
	"dredge/metadata"
	"dredge/row"
	"dredge/row/encode"
)

// explanation is the way of one line to its row, as `dredge explain --json` prints it.
type explanation struct {
	// Place is where the line stood in a stream, Delivery how far it came from there; nil when the line was given as text.
	Place    *placeStep    `json:"place,omitempty"`
	Delivery *deliveryStep `json:"delivery,omitempty"`

	Line   string          `json:"line"`
	Layout []string        `json:"layout"`
	Fields json.RawMessage `json:"fields"`
	// NoRow says why the record gives no row; the rest is then empty.
	NoRow string `json:"no_row,omitempty"`

	Recorder    *recorderStep `json:"recorder,omitempty"`
	Direction   *step         `json:"direction,omitempty"`
	Source      *endStep      `json:"source,omitempty"`
	Destination *endStep      `json:"destination,omitempty"`
	Client      *step         `json:"client,omitempty"`
	Observed    *step         `json:"observed_at,omitempty"`
	Counted     *countedStep  `json:"counted,omitempty"`
	Path        *step         `json:"path,omitempty"`
	// Segmentation is nil when no edges are declared; By is the edge that decided.
	Segmentation *step        `json:"segmentation,omitempty"`
	Rules        []rules.Step `json:"rules,omitempty"`
	// Dropped says that a rule takes the row away; Row is then what it would have been.
	Dropped bool            `json:"dropped,omitempty"`
	Row     json.RawMessage `json:"row,omitempty"`
}

// step is one conclusion: the value that stands in the row, by which rule, and that in words.
type step struct {
	Value string `json:"value"`
	By    string `json:"by,omitempty"`
	Why   string `json:"why"`
}

type countedStep struct {
	Counted bool `json:"counted"`
	step
	SourceLogged      bool `json:"source_logged"`
	DestinationLogged bool `json:"destination_logged"`
}

type recorderStep struct {
	Interface string `json:"interface,omitempty"`
	Known     bool   `json:"known"`
	Kind      string `json:"kind,omitempty"`
	Scope     string `json:"scope,omitempty"`
	Forwarder bool   `json:"forwarder"`
	ViaKind   string `json:"via_kind,omitempty"`
	ViaID     string `json:"via_id,omitempty"`
	Why       string `json:"why"`
}

type endStep struct {
	Address  string `json:"address"`
	Port     uint16 `json:"port"`
	Recorded string `json:"recorded"`
	Chosen   string `json:"chosen"`
	Own      bool   `json:"own"`

	Scope *step `json:"scope"`
	// Asked is the time that was asked for: an owner must hold the address in [start, end + 1 s).
	AskedFrom string       `json:"asked_from"`
	AskedTo   string       `json:"asked_to"`
	Tenures   []tenureStep `json:"tenures,omitempty"`

	Grade  *step        `json:"grade"`
	App    string       `json:"app"`
	Named  bool         `json:"named"`
	Public *publicStep  `json:"public,omitempty"`
	Meant  []string     `json:"candidates,omitempty"`
	Node   *endpointRef `json:"endpoint,omitempty"`
}

// tenureStep is one owner of the address.
type tenureStep struct {
	Owner    string `json:"owner"`
	App      string `json:"app,omitempty"`
	From     string `json:"from"`
	To       string `json:"to,omitempty"`
	Evidence string `json:"evidence"`
	// Meets says that the flow may lie in it.
	Meets bool `json:"meets"`
	// Port says that only the end's port was claimed.
	Port bool `json:"port,omitempty"`
}

type endpointRef struct {
	Owner    string `json:"owner"`
	Kind     string `json:"kind,omitempty"`
	Instance string `json:"instance,omitempty"`
	ENI      string `json:"eni,omitempty"`
	Name     string `json:"name,omitempty"`
}

// publicStep is what is published of a public address.
type publicStep struct {
	RecordService string `json:"record_service,omitempty"`
	Service       string `json:"service,omitempty"`
	Region        string `json:"region,omitempty"`
	BorderGroup   string `json:"network_border_group,omitempty"`
	Country       string `json:"country,omitempty"`
	ASN           uint32 `json:"asn,omitempty"`
	Organization  string `json:"organization,omitempty"`
	Why           string `json:"why"`
}

// report fills e from what the join said.
func (x *explainer) report(e *explanation, r *flowlog.Record, facts *enrich.Explanation, rows *row.Batch) error {
	made := &rows.Rows[0]
	e.Recorder = recorderOf(r, facts, made)
	e.Direction = directionStep(facts, made)
	e.Source = x.end(r, facts, &facts.Src, &made.Src, flowlog.FieldPktSrcAWSService, "srcaddr")
	e.Destination = x.end(r, facts, &facts.Dst, &made.Dst, flowlog.FieldPktDstAWSService, "dstaddr")
	e.Client = clientStep(r, facts, made)
	e.Observed = observedStep(facts, made)
	e.Counted = countedOf(facts, made)
	e.Path = &step{Value: made.Path.String(), Why: pathWords(made, e.Source.App, e.Destination.App)}
	if x.segments != nil {
		verdict, edge, why := x.segments.Explain(rows, 0)
		e.Segmentation = &step{Value: verdict.String(), By: edge, Why: why}
	}
	steps, kept := x.rules.Explain(rows, 0, x.o.partition != "")
	e.Rules, e.Dropped = steps, !kept
	columns := x.columns
	if x.o.partition == "" {
		// Without its place in a stream the row has no id.
		columns = slices.DeleteFunc(slices.Clone(columns), func(c row.Column) bool { return c.Name == "row_id" })
	}
	enc, err := encode.NewJSON(columns)
	if err != nil {
		return err
	}
	e.Row = enc.Append(nil, rows, 0)
	if !json.Valid(e.Row) {
		return errors.New("BUG: the row is no JSON")
	}
	return nil
}

func (x *explainer) end(r *flowlog.Record, facts *enrich.Explanation, e *enrich.ExplainedEnd, side *row.Side, service flowlog.Field, field string) *endStep {
	view := x.known.View()
	out := &endStep{
		Address: e.Addr.String(), Port: side.Port, Recorded: e.Recorded.String(), Own: e.Own, Chosen: chosen(e, field),
		AskedFrom: clock(facts.Window.Start), AskedTo: clock(facts.Window.End),
		App: side.App, Named: side.Named, Meant: side.Candidates,
		Grade: &step{Value: side.Grade, By: side.Reason, Why: gradeWords(side.Grade, side.Reason)},
	}
	scope := e.Scope
	if scope == "" {
		scope = row.KindUnknown
	}
	out.Scope = &step{Value: scope, By: e.ScopeReason.String(), Why: reasonWords(e.ScopeReason.String())}
	if e.Answer.Endpoint != 0 {
		ep := view.Endpoint(e.Answer.Endpoint)
		out.Node = &endpointRef{Owner: ep.Owner, Kind: ep.Kind, Instance: ep.Instance, ENI: ep.ENI, Name: ep.Name}
	}
	for _, narrow := range [...]bool{true, false} {
		proto, port := r.Protocol, side.Port
		if !narrow {
			proto, port = 0, 0
		} else if port == 0 {
			continue
		}
		for _, t := range x.known.Tenures(e.Handle, e.Addr, proto, port) {
			ts := tenureStep{
				Owner: view.Endpoint(t.Owner).Owner, App: view.Workload(t.Workload).App, From: clock(t.From), Port: narrow,
				Evidence: evidenceWords(&t),
				Meets:    t.From-int64(t.AccFrom) < facts.Window.End+1000 && (t.Open || t.To+int64(t.AccTo) > facts.Window.Start),
			}
			if !t.Open {
				ts.To = clock(t.To)
			}
			out.Tenures = append(out.Tenures, ts)
		}
	}
	if metadata.IsPublic(e.Addr) {
		out.Public = x.publicOf(r, e, side, service)
	}
	return out
}

func (x *explainer) publicOf(r *flowlog.Record, e *enrich.ExplainedEnd, side *row.Side, service flowlog.Field) *publicStep {
	p := &publicStep{RecordService: string(r.Text(service))}
	if x.public != nil {
		if a, ok := x.public.Range(e.Addr); ok {
			p.Service, p.Region, p.BorderGroup = a.Service, a.Region, a.BorderGroup
		}
		if a, ok := x.public.Place(e.Addr); ok {
			p.Country, p.ASN, p.Organization = a.Country, a.ASN, a.Org
		}
	}
	switch {
	case side.Grade != row.GradePublic:
		p.Why = "a public address with an owner of ours: what is published of it names nobody"
	case p.RecordService != "":
		p.Why = fmt.Sprintf("the record's own %s goes before the published ranges", service)
	case p.Service != "":
		p.Why = "Amazon publishes the address as its own; of the services whose blocks cover it the most telling one counts, AMAZON and EC2 last"
	case x.public == nil:
		p.Why = "no published ranges are configured (identity.geo)"
	default:
		p.Why = "no published range of Amazon covers the address"
	}
	return p
}

// clock prints Unix milliseconds.
func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.999Z") }
