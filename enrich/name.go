package enrich

import (
	"net/netip"
	"strings"

	"dredge/flowlog"
	"dredge/metadata"
	"dredge/row"
)

// name turns what was found about e into what the row says of it.
func (j *join) name(f *flow, e *end, which row.End, side *row.Side) {
	local := f.local == which && e.own
	if local && j.traits.ecs && j.byTask(f, e, side) {
		j.finish(side, e)
		return
	}
	side.Grade, side.Reason = e.ans.Grade.String(), e.ans.Reason.String()
	switch {
	case j.e.naming.Has(e.ans.Grade):
		e.who = j.named(e)
		side.Named = e.who.named
		if !side.Named {
			side.Reason = metadata.NoWorkload.String()
		}
		if local {
			e.who = j.fill(e.who, f.r)
			if side.Named && j.traits.tags {
				j.checkTags(f.r, j.view.Workload(e.ans.Workload))
			}
		}
		j.endpoint(side, e.ans.Endpoint)
	case e.ans.Grade == metadata.PublicEnd:
		e.who = j.publicIdentity(f, e, which)
		j.place(e, side)
	case e.ans.Reason == metadata.SharedInterface || e.ans.Reason == metadata.LayersDisagree && e.ans.Grade == metadata.Unknown:
		e.who = j.e.identities.node(j.view, e.ans.Endpoint, e.ans.Workload)
		if local {
			e.who = j.fill(e.who, f.r)
		}
		j.endpoint(side, e.ans.Endpoint)
	default:
		j.unnamed(f, e, local, side)
	}
	j.finish(side, e)
}

func (j *join) finish(side *row.Side, e *end) {
	side.Identity, side.App = &e.who.Identity, e.who.App
	j.counts.end(side, e.ans.Grade)
}

// endpoint fills the endpoint's own ids, when a column asks for them.
func (j *join) endpoint(side *row.Side, id metadata.EndpointID) {
	if !j.e.endpoints || id == 0 {
		return
	}
	ep := j.view.Endpoint(id)
	side.Instance, side.ENI, side.Name = ep.Instance, ep.ENI, ep.Name
}

// unnamed fills an end that nobody may be named for: the candidates, and whatever is certain all the same.
func (j *join) unnamed(f *flow, e *end, local bool, side *row.Side) {
	token := row.AppUnknown
	switch e.ans.Grade {
	case metadata.Unknown, metadata.Prefix:
		if p, ok := j.view.Prefix(e.scope, e.addr, f.w); ok {
			e.ans.Grade, e.ans.Reason = metadata.Prefix, metadata.CIDR
			side.Grade, side.Reason = metadata.Prefix.String(), metadata.CIDR.String()
			if e.scope == metadata.Public {
				j.place(e, side)
			}
			e.who = j.network(&p, e.scope)
			if local {
				e.who = j.fill(e.who, f.r)
			}
			return
		}
	case metadata.Ambiguous:
		token = row.AppAmbiguous
	case metadata.Border:
		if e.ans.Candidates[1] != 0 {
			token = row.AppAmbiguous
		}
	default:
	}
	j.candidates(e, side)
	if local {
		r := f.r
		vpc := r.VPCID
		if vpc == "" {
			vpc = vpcID(j.view.ScopeName(e.scope))
		}
		account := r.AccountID
		if account == "unknown" { // AWS writes this word for interfaces that a service owns
			account = ""
		}
		e.who = j.local(facts{
			token: token, kind: row.KindUnknown, account: account, region: r.Region, az: r.AZID, vpc: vpc, subnet: r.SubnetID,
		})
		return
	}
	e.who = j.e.identities.unnamed(j.view, e.scope, token)
}

// network returns the identity of an end of which only the declared network is known.
func (j *join) network(p *metadata.PrefixInfo, s metadata.Scope) *party {
	x := facts{token: row.AppUnknown, kind: row.KindNetwork, network: p.Name, site: p.Site, vpc: vpcID(p.Scope)}
	if s == metadata.Public { // somebody's network on the internet
		x.token, x.kind = row.AppInternet, row.KindInternet
	}
	if strings.HasPrefix(p.Name, "subnet-") {
		x.subnet = p.Name
	}
	return j.e.identities.facts(x)
}

// local interns the facts of a local end. Lines of one interface come in a run, so the last ones are tried first.
func (j *join) local(x facts) *party {
	if j.lastIdentity == nil || x != j.lastFacts {
		j.lastFacts, j.lastIdentity = x, j.e.identities.facts(x)
	}
	return j.lastIdentity
}

// fill completes what identity says of the local end with what the record says of the interface's place.
func (j *join) fill(id *party, r *flowlog.Record) *party {
	if id.whole || (id.AZ != "" || r.AZID == "") && (id.Subnet != "" || r.SubnetID == "") && (id.VPC != "" || r.VPCID == "") &&
		(id.Region != "" || r.Region == "") && (id.Account != "" || r.AccountID == "" || r.AccountID == "unknown") {
		return id
	}
	x := factsOf(id)
	x.az = either(x.az, r.AZID)
	x.subnet = either(x.subnet, r.SubnetID)
	x.vpc = either(x.vpc, r.VPCID)
	x.region = either(x.region, r.Region)
	if r.AccountID != "unknown" {
		x.account = either(x.account, r.AccountID)
	}
	return j.local(x)
}

func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// candidates lists who could have been meant: the candidates, or the one best guess.
func (j *join) candidates(e *end, side *row.Side) {
	if e.ans.Candidates[0] == 0 {
		if e.ans.Endpoint != 0 || e.ans.Workload != 0 {
			j.candidate(side, e.ans.Endpoint, e.ans.Workload)
		}
		return
	}
	for i, id := range e.ans.Candidates {
		if id == 0 {
			break
		}
		j.candidate(side, id, e.ans.CandidateWorkloads[i])
	}
}

func (j *join) candidate(side *row.Side, ep metadata.EndpointID, wl metadata.WorkloadID) {
	name := j.view.Workload(wl).App
	if name == "" {
		name = j.view.Endpoint(ep).Owner
	}
	if name != "" {
		side.Candidates = j.out.AddCandidate(side.Candidates, name)
	}
}

// publicIdentity names a public end by its AWS service: the record's word first, as AWS knows its own ranges best.
func (j *join) publicIdentity(f *flow, e *end, which row.End) *party {
	if j.traits.service {
		field := flowlog.FieldPktSrcAWSService
		if which == row.EndDst {
			field = flowlog.FieldPktDstAWSService
		}
		if text := f.r.Text(field); text != nil {
			published, region := j.published(e.addr)
			if published != "" && published != string(text) {
				j.counts.serviceMismatches++
			}
			return j.e.identities.service(j.scratch.text.String(text), region)
		}
	}
	if name, region := j.published(e.addr); name != "" {
		return j.e.identities.service(name, region)
	}
	return j.e.identities.internet
}

// published returns what is published of a public address: the AWS service, and its region where that is known.
func (j *join) published(ip netip.Addr) (service, region string) {
	switch {
	case j.e.regions != nil:
		return j.e.regions.ServiceIn(ip)
	case j.e.public != nil:
		return j.e.public.Service(ip), ""
	default:
		return "", ""
	}
}

// place says where a public end is, when a column asks for it.
func (j *join) place(e *end, side *row.Side) {
	if j.e.places == nil {
		return
	}
	if country, asn, org := j.e.places.Where(e.addr); country != "" || asn != 0 {
		side.Place = j.out.AddPlace(row.Place{Country: country, ASN: asn, ASOrg: org})
	}
}

// vpcID returns the scope's name when it is a VPC's id.
func vpcID(scope string) string {
	if strings.HasPrefix(scope, "vpc-") {
		return scope
	}
	return ""
}
