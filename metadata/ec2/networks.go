package ec2

import (
	"context"
	"errors"
	"net/netip"
	"path"
	"slices"
	"strings"

	"dredge/metadata/event"
	"dredge/metadata/internal/awscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// estateNetworks is the map of an estate: its VPCs' and subnets' networks.
type estateNetworks struct {
	vpcs    map[string][]netip.Prefix
	subnets map[string]subnet
	claims  []*claim
}

type subnet struct {
	vpc, zone string
	prefixes  []netip.Prefix
}

func (e *estate) listNetworks(ctx context.Context) (estateNetworks, error) {
	nets := estateNetworks{vpcs: map[string][]netip.Prefix{}, subnets: map[string]subnet{}}
	add := func(scope, owner, account, cidr string, ep event.Endpoint) (netip.Prefix, bool) {
		p, err := netip.ParsePrefix(cidr)
		if err != nil {
			return p, false
		}
		nets.claims = append(nets.claims, &claim{
			key: key{part: networks, scope: scope, addr: p.Masked().String(), owner: owner}, op: event.Assign, ep: &ep,
			wl: &event.Workload{Account: account, VPC: scope, Region: e.region},
		})
		return p.Masked(), true
	}
	err := awscall.Pages(func(token *string) (*string, error) {
		answer, err := awscall.Do(ctx, e.caller, "DescribeVpcs", func(ctx context.Context) (*ec2.DescribeVpcsOutput, error) {
			return e.api.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{MaxResults: e.pageSize(), NextToken: token})
		})
		if err != nil {
			return nil, err
		}
		for _, v := range answer.Vpcs {
			id := str(v.VpcId)
			ep := event.Endpoint{Kind: "vpc", Name: tagMap(v.Tags)["Name"]}
			cidrs := []string{}
			for _, a := range v.CidrBlockAssociationSet {
				if a.CidrBlockState == nil || a.CidrBlockState.State == types.VpcCidrBlockStateCodeAssociated || a.CidrBlockState.State == "" {
					cidrs = append(cidrs, str(a.CidrBlock))
				}
			}
			if !slices.Contains(cidrs, str(v.CidrBlock)) {
				cidrs = append(cidrs, str(v.CidrBlock))
			}
			for _, a := range v.Ipv6CidrBlockAssociationSet {
				if a.Ipv6CidrBlockState == nil || a.Ipv6CidrBlockState.State == types.VpcCidrBlockStateCodeAssociated || a.Ipv6CidrBlockState.State == "" {
					cidrs = append(cidrs, str(a.Ipv6CidrBlock))
				}
			}
			for _, c := range cidrs {
				if p, ok := add(id, "vpc:"+id, str(v.OwnerId), c, ep); ok {
					nets.vpcs[id] = append(nets.vpcs[id], p)
				}
			}
		}
		return answer.NextToken, nil
	})
	if err != nil {
		return nets, err
	}
	err = awscall.Pages(func(token *string) (*string, error) {
		answer, err := awscall.Do(ctx, e.caller, "DescribeSubnets", func(ctx context.Context) (*ec2.DescribeSubnetsOutput, error) {
			return e.api.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{MaxResults: e.pageSize(), NextToken: token})
		})
		if err != nil {
			return nil, err
		}
		for _, s := range answer.Subnets {
			id := str(s.SubnetId)
			sub := subnet{vpc: str(s.VpcId), zone: str(s.AvailabilityZoneId)}
			ep := event.Endpoint{Kind: "subnet", Name: tagMap(s.Tags)["Name"], Subnet: id, AZ: sub.zone}
			cidrs := []string{str(s.CidrBlock)}
			for _, a := range s.Ipv6CidrBlockAssociationSet {
				cidrs = append(cidrs, str(a.Ipv6CidrBlock))
			}
			for _, c := range cidrs {
				if p, ok := add(sub.vpc, "subnet:"+id, str(s.OwnerId), c, ep); ok {
					sub.prefixes = append(sub.prefixes, p)
				}
			}
			nets.subnets[id] = sub
		}
		return answer.NextToken, nil
	})
	return nets, err
}

// route is a claim that packets from scope to a prefix arrive in another scope.
func route(p part, scope string, prefix netip.Prefix, to, owner, via string) *claim {
	return &claim{key: key{part: p, scope: scope, addr: prefix.String(), owner: owner, to: to}, op: event.Topology, via: via}
}

// listPeerings tells the networks at the other end of each active peering.
func (e *estate) listPeerings(ctx context.Context) ([]*claim, error) {
	var out []*claim
	err := awscall.Pages(func(token *string) (*string, error) {
		answer, err := awscall.Do(ctx, e.caller, "DescribeVpcPeeringConnections", func(ctx context.Context) (*ec2.DescribeVpcPeeringConnectionsOutput, error) {
			return e.api.DescribeVpcPeeringConnections(ctx, &ec2.DescribeVpcPeeringConnectionsInput{
				MaxResults: e.pageSize(), NextToken: token, Filters: []types.Filter{{Name: aws.String("status-code"), Values: []string{"active"}}},
			})
		})
		if err != nil {
			return nil, err
		}
		for _, p := range answer.VpcPeeringConnections {
			if p.RequesterVpcInfo == nil || p.AccepterVpcInfo == nil || p.Status == nil || p.Status.Code != types.VpcPeeringConnectionStateReasonCodeActive {
				continue
			}
			for _, d := range [][2]*types.VpcPeeringConnectionVpcInfo{{p.RequesterVpcInfo, p.AccepterVpcInfo}, {p.AccepterVpcInfo, p.RequesterVpcInfo}} {
				from, to := d[0], d[1]
				for _, prefix := range peerNetworks(to) {
					out = append(out, route(peerings, str(from.VpcId), prefix, str(to.VpcId), str(p.VpcPeeringConnectionId), "peering"))
				}
			}
		}
		return answer.NextToken, nil
	})
	return out, err
}

func peerNetworks(v *types.VpcPeeringConnectionVpcInfo) []netip.Prefix {
	texts := []string{str(v.CidrBlock)}
	for _, c := range v.CidrBlockSet {
		texts = append(texts, str(c.CidrBlock))
	}
	for _, c := range v.Ipv6CidrBlockSet {
		texts = append(texts, str(c.Ipv6CidrBlock))
	}
	var out []netip.Prefix
	for _, t := range texts {
		if p, err := netip.ParsePrefix(t); err == nil && !slices.Contains(out, p.Masked()) {
			out = append(out, p.Masked())
		}
	}
	return out
}

// listTransit tells which VPC's networks each attached VPC reaches through the route table that its attachment is associated
// with. Only the owner of the gateway may read that table.
//
// A route that is wider than the VPC it leads to (0.0.0.0/0 to an inspection VPC) says where packets go next, not where they
// arrive: of it only the VPC's own networks are told, and nothing when they are not known.
func (e *estate) listTransit(ctx context.Context, nets map[string][]netip.Prefix) ([]*claim, error) {
	members := map[string][]string{} // route table -> VPCs that ask it
	err := awscall.Pages(func(token *string) (*string, error) {
		answer, err := awscall.Do(ctx, e.caller, "DescribeTransitGatewayAttachments", func(ctx context.Context) (*ec2.DescribeTransitGatewayAttachmentsOutput, error) {
			return e.api.DescribeTransitGatewayAttachments(ctx, &ec2.DescribeTransitGatewayAttachmentsInput{
				MaxResults: e.pageSize(), NextToken: token, Filters: []types.Filter{{Name: aws.String("resource-type"), Values: []string{"vpc"}}},
			})
		})
		if err != nil {
			return nil, err
		}
		for _, a := range answer.TransitGatewayAttachments {
			if a.State == types.TransitGatewayAttachmentStateAvailable && a.Association != nil && str(a.Association.TransitGatewayRouteTableId) != "" {
				table := str(a.Association.TransitGatewayRouteTableId)
				members[table] = append(members[table], str(a.ResourceId))
			}
		}
		return answer.NextToken, nil
	})
	if err != nil {
		return nil, err
	}
	var out []*claim
	tables := make([]string, 0, len(members))
	for t := range members {
		tables = append(tables, t)
	}
	slices.Sort(tables)
	for _, table := range tables {
		answer, err := awscall.Do(ctx, e.caller, "SearchTransitGatewayRoutes", func(ctx context.Context) (*ec2.SearchTransitGatewayRoutesOutput, error) {
			return e.api.SearchTransitGatewayRoutes(ctx, &ec2.SearchTransitGatewayRoutesInput{
				TransitGatewayRouteTableId: &table, MaxResults: aws.Int32(1000),
				Filters: []types.Filter{{Name: aws.String("state"), Values: []string{"active"}}},
			})
		})
		if err != nil {
			return nil, err
		}
		if answer.AdditionalRoutesAvailable != nil && *answer.AdditionalRoutesAvailable {
			return nil, errors.New("SearchTransitGatewayRoutes: the route table " + table + " has more than 1000 active routes, which EC2 does not list; its reach is not told")
		}
		for _, r := range answer.Routes {
			for _, c := range transitClaims(table, r, members[table], nets) {
				if !slices.ContainsFunc(out, func(o *claim) bool { return o.key == c.key }) {
					out = append(out, c)
				}
			}
		}
	}
	return out, nil
}

func transitClaims(table string, r types.TransitGatewayRoute, members []string, nets map[string][]netip.Prefix) []*claim {
	prefix, err := netip.ParsePrefix(str(r.DestinationCidrBlock))
	if err != nil || len(r.TransitGatewayAttachments) != 1 || r.TransitGatewayAttachments[0].ResourceType != types.TransitGatewayAttachmentResourceTypeVpc {
		return nil
	}
	prefix = prefix.Masked()
	to := str(r.TransitGatewayAttachments[0].ResourceId)
	var reach []netip.Prefix
	own, known := nets[to]
	for _, n := range own {
		switch {
		case n.Bits() <= prefix.Bits() && n.Contains(prefix.Addr()):
			reach = append(reach, prefix)
		case prefix.Bits() < n.Bits() && prefix.Contains(n.Addr()):
			reach = append(reach, n)
		}
	}
	if !known && r.Type == types.TransitGatewayRouteTypePropagated {
		reach = []netip.Prefix{prefix} // what a VPC's attachment propagates is that VPC's own
	}
	var out []*claim
	for _, from := range members {
		if from == to {
			continue
		}
		for _, p := range reach {
			out = append(out, route(transit, from, p, to, table, "transit-gateway"))
		}
	}
	return out
}

// listPrefixLists tells the customer's own managed prefix lists as networks of no scope.
func (e *estate) listPrefixLists(ctx context.Context) ([]*claim, error) {
	var out []*claim
	err := awscall.Pages(func(token *string) (*string, error) {
		answer, err := awscall.Do(ctx, e.caller, "DescribeManagedPrefixLists", func(ctx context.Context) (*ec2.DescribeManagedPrefixListsOutput, error) {
			return e.api.DescribeManagedPrefixLists(ctx, &ec2.DescribeManagedPrefixListsInput{MaxResults: aws.Int32(100), NextToken: token})
		})
		if err != nil {
			return nil, err
		}
		for _, l := range answer.PrefixLists {
			if owner := str(l.OwnerId); owner == "AWS" || owner == "amazon" || owner == "" {
				continue // ip-ranges.json knows them better
			}
			entries, err := e.prefixListEntries(ctx, l)
			if err != nil {
				return nil, err
			}
			out = append(out, entries...)
		}
		return answer.NextToken, nil
	})
	return out, err
}

func (e *estate) prefixListEntries(ctx context.Context, l types.ManagedPrefixList) ([]*claim, error) {
	var out []*claim
	err := awscall.Pages(func(token *string) (*string, error) {
		answer, err := awscall.Do(ctx, e.caller, "GetManagedPrefixListEntries", func(ctx context.Context) (*ec2.GetManagedPrefixListEntriesOutput, error) {
			return e.api.GetManagedPrefixListEntries(ctx, &ec2.GetManagedPrefixListEntriesInput{
				PrefixListId: l.PrefixListId, MaxResults: aws.Int32(100), NextToken: token,
			})
		})
		if err != nil {
			return nil, err
		}
		for _, entry := range answer.Entries {
			p, err := netip.ParsePrefix(str(entry.Cidr))
			if err != nil {
				continue
			}
			name := str(entry.Description)
			if name == "" {
				name = str(l.PrefixListName)
			}
			out = append(out, &claim{
				key: key{part: prefixLists, addr: p.Masked().String(), owner: str(l.PrefixListId)}, op: event.Assign,
				ep: &event.Endpoint{Kind: "prefix", Name: name},
			})
		}
		return answer.NextToken, nil
	})
	return out, err
}

// logged is what is known to be logged of one network.
type logged struct{ scope, prefix string }

// listCoverage says which networks' flows are logged into this application, of which actions.
func (e *estate) listCoverage(ctx context.Context, nets estateNetworks, seen []sighting) (map[logged]coverage, error) {
	out := map[logged]coverage{}
	err := awscall.Pages(func(token *string) (*string, error) {
		answer, err := awscall.Do(ctx, e.caller, "DescribeFlowLogs", func(ctx context.Context) (*ec2.DescribeFlowLogsOutput, error) {
			return e.api.DescribeFlowLogs(ctx, &ec2.DescribeFlowLogsInput{MaxResults: e.pageSize(), NextToken: token})
		})
		if err != nil {
			return nil, err
		}
		for _, f := range answer.FlowLogs {
			if str(f.FlowLogStatus) != "ACTIVE" || str(f.DeliverLogsStatus) == "FAILED" || !e.ours(f) {
				continue
			}
			c := coverage{actions: string(f.TrafficType)}
			if f.CreationTime != nil {
				c.from = f.CreationTime.UnixMilli()
			}
			resource := str(f.ResourceId)
			switch {
			case strings.HasPrefix(resource, "vpc-"):
				for _, p := range nets.vpcs[resource] {
					out[logged{resource, p.String()}] = out[logged{resource, p.String()}].and(c)
				}
			case strings.HasPrefix(resource, "subnet-"):
				s := nets.subnets[resource]
				for _, p := range s.prefixes {
					out[logged{s.vpc, p.String()}] = out[logged{s.vpc, p.String()}].and(c)
				}
			case strings.HasPrefix(resource, "eni-"):
				for _, k := range interfacePrefixes(resource, seen) {
					out[k] = out[k].and(c)
				}
			}
		}
		return answer.NextToken, nil
	})
	return out, err
}

func interfacePrefixes(eni string, seen []sighting) []logged {
	var out []logged
	for i := range seen {
		n := &seen[i]
		if str(n.NetworkInterfaceId) != eni {
			continue
		}
		for _, p := range n.PrivateIpAddresses {
			if a, err := netip.ParseAddr(str(p.PrivateIpAddress)); err == nil {
				out = append(out, logged{str(n.VpcId), netip.PrefixFrom(a, a.BitLen()).String()})
			}
		}
		for _, p := range n.Ipv6Addresses {
			if a, err := netip.ParseAddr(str(p.Ipv6Address)); err == nil {
				out = append(out, logged{str(n.VpcId), netip.PrefixFrom(a, a.BitLen()).String()})
			}
		}
	}
	return out
}

// ours says whether a flow log delivers into this application.
func (e *estate) ours(f types.FlowLog) bool {
	for _, pattern := range e.cfg.FlowLogs {
		for _, name := range []string{str(f.LogGroupName), str(f.LogDestination)} {
			// Names of log groups hold slashes, which path.Match would not let a * pass.
			if ok, err := path.Match(strings.ReplaceAll(pattern, "/", "\x00"), strings.ReplaceAll(name, "/", "\x00")); name != "" && err == nil && ok {
				return true
			}
		}
	}
	return false
}

// coverage is what flow logs of one network log together.
type coverage struct {
	actions string
	from    int64
}

// and adds a second flow log of the same network: one of what was accepted and one of what was rejected log all.
func (c coverage) and(d coverage) coverage {
	switch {
	case c.actions == "" || c.actions == d.actions:
		if c.from == 0 || d.from != 0 && d.from < c.from {
			c.from = d.from
		}
		c.actions = d.actions
	case d.actions == "ALL":
		return d
	case c.actions != "ALL":
		return coverage{"ALL", max(c.from, d.from)}
	}
	return c
}

// tellCoverage appends what changed. A network whose flow log is missing once is told as unlogged only after a second look.
func (e *estate) tellCoverage(now map[logged]coverage, v look, out []event.Event) []event.Event {
	yes, no := true, false
	keys := make([]logged, 0, len(now)+len(e.covered))
	for k := range now {
		keys = append(keys, k)
	}
	for k := range e.covered {
		if _, ok := now[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b logged) int { return strings.Compare(a.scope+a.prefix, b.scope+b.prefix) })
	for _, k := range keys {
		c, ok := now[k]
		was, told := e.covered[k]
		switch {
		case ok && !told:
			from := c.from
			if from == 0 || e.everCovered[k] {
				from = v.end
			}
			out = append(out, event.Event{Op: event.Coverage, Scope: k.scope, Prefix: k.prefix, Logged: &yes, Actions: c.actions, From: from})
		case ok && c.actions != was.actions:
			out = append(out, event.Event{Op: event.Coverage, Scope: k.scope, Prefix: k.prefix, Logged: &yes, Actions: c.actions, From: v.end})
		case !ok && e.uncovered[k] == 0:
			e.uncovered[k] = v.begin
			continue
		case !ok:
			out = append(out, event.Event{Op: event.Coverage, Scope: k.scope, Prefix: k.prefix, Logged: &no, From: e.uncovered[k]})
			delete(e.covered, k)
		}
		delete(e.uncovered, k)
		if ok {
			e.covered[k], e.everCovered[k] = c, true
		}
	}
	return out
}
