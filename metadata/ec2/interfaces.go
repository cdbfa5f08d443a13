package ec2

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"dredge/metadata/event"
	"dredge/metadata/internal/awscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// machine is what is kept of an instance.
type machine struct {
	tags map[string]string
}

// sighting is an interface with the time of the answer that showed it.
type sighting struct {
	types.NetworkInterface
	look
}

// listInterfaces reads every page. Interfaces move between pages while it reads: each keeps the time of its own page.
func (e *estate) listInterfaces(ctx context.Context, before int64) ([]sighting, error) {
	var out []sighting
	err := awscall.Pages(func(token *string) (*string, error) {
		v := look{begin: e.millis(), before: before}
		answer, err := awscall.Do(ctx, e.caller, "DescribeNetworkInterfaces", func(ctx context.Context) (*ec2.DescribeNetworkInterfacesOutput, error) {
			return e.api.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{MaxResults: e.pageSize(), NextToken: token})
		})
		if err != nil {
			return nil, err
		}
		v.end = e.millis()
		for _, n := range answer.NetworkInterfaces {
			out = append(out, sighting{n, v})
		}
		return answer.NextToken, nil
	})
	return out, err
}

// filterValues is how many values one filter may have.
const filterValues = 200

// lookUp asks for interfaces by one filter. Unlike a look-up by id it does not fail when one of them is gone.
func (e *estate) lookUp(ctx context.Context, filter string, values []string, v look) ([]sighting, look, error) {
	v.begin = e.millis()
	var out []sighting
	for some := range slices.Chunk(values, filterValues) {
		err := awscall.Pages(func(token *string) (*string, error) {
			answer, err := awscall.Do(ctx, e.caller, "DescribeNetworkInterfaces", func(ctx context.Context) (*ec2.DescribeNetworkInterfacesOutput, error) {
				return e.api.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{
					MaxResults: e.pageSize(), NextToken: token, Filters: []types.Filter{{Name: &filter, Values: some}},
				})
			})
			if err != nil {
				return nil, err
			}
			for _, n := range answer.NetworkInterfaces {
				out = append(out, sighting{NetworkInterface: n})
			}
			return answer.NextToken, nil
		})
		if err != nil {
			return nil, v, err
		}
	}
	v.end = e.millis()
	for i := range out {
		out[i].look = v
	}
	return out, v, nil
}

// listInstances reads the tags of every instance.
func (e *estate) listInstances(ctx context.Context) (map[string]machine, error) {
	out := map[string]machine{}
	err := e.describeInstances(ctx, nil, out)
	return out, err
}

func (e *estate) describeInstances(ctx context.Context, ids []string, into map[string]machine) error {
	var filters []types.Filter
	if ids != nil {
		filters = []types.Filter{{Name: aws.String("instance-id"), Values: ids}}
	}
	return awscall.Pages(func(token *string) (*string, error) {
		answer, err := awscall.Do(ctx, e.caller, "DescribeInstances", func(ctx context.Context) (*ec2.DescribeInstancesOutput, error) {
			return e.api.DescribeInstances(ctx, &ec2.DescribeInstancesInput{MaxResults: e.pageSize(), NextToken: token, Filters: filters})
		})
		if err != nil {
			return nil, err
		}
		for _, r := range answer.Reservations {
			for _, i := range r.Instances {
				into[str(i.InstanceId)] = machine{tagMap(i.Tags)}
			}
		}
		return answer.NextToken, nil
	})
}

// missingInstances asks for instances that interfaces name and the listing did not have: they were made after it.
func (e *estate) missingInstances(ctx context.Context, seen []sighting, known map[string]machine) error {
	ask := map[string]bool{}
	for _, n := range seen {
		if n.Attachment != nil && n.Attachment.InstanceId != nil {
			if _, ok := known[*n.Attachment.InstanceId]; !ok {
				ask[*n.Attachment.InstanceId] = true
			}
		}
	}
	for some := range slices.Chunk(sorted(ask), filterValues) {
		if err := e.describeInstances(ctx, some, known); err != nil {
			return err
		}
	}
	return nil
}

// claims are what one interface says of addresses.
func (e *estate) claims(n *types.NetworkInterface, machines map[string]machine) []*claim {
	id, vpc := str(n.NetworkInterfaceId), str(n.VpcId)
	if id == "" || vpc == "" {
		return nil
	}
	own := tagMap(n.TagSet)
	instance := ""
	var since int64
	if n.Attachment != nil {
		instance = str(n.Attachment.InstanceId)
		if n.Attachment.AttachTime != nil && !n.Attachment.AttachTime.IsZero() {
			since = n.Attachment.AttachTime.UnixMilli()
		}
	}
	m, found := machines[instance]
	what := natureOf(n, own, m.tags)
	ep := &event.Endpoint{Kind: what.kind, ENI: id, Instance: instance, Name: what.name, Subnet: str(n.SubnetId), AZ: e.zoneID(n)}
	wl := &event.Workload{Account: str(n.OwnerId), VPC: vpc, Region: e.region}
	e.name(what, own, m.tags, ep, wl)
	base := claim{op: event.Assign, sdc: n.SourceDestCheck, ep: ep, wl: wl, vague: instance != "" && !found}
	base.part, base.owner, base.scope = interfaces, "eni:"+id, vpc

	var out []*claim
	add := func(scope, address string, primary bool, since int64) {
		if a, err := netip.ParseAddr(address); err != nil || a.Zone() != "" {
			return
		}
		c := base
		c.scope, c.addr, c.since = scope, address, since
		if scope == vpc {
			c.primary = &primary
		}
		out = append(out, &c)
	}
	if len(n.PrivateIpAddresses) == 0 && n.PrivateIpAddress != nil {
		add(vpc, *n.PrivateIpAddress, true, since)
	}
	for _, p := range n.PrivateIpAddresses {
		// Attach time says nothing of an address that was added later; the primary one cannot be.
		primary := p.Primary != nil && *p.Primary
		from := int64(0)
		if primary {
			from = since
		}
		add(vpc, str(p.PrivateIpAddress), primary, from)
		if p.Association != nil {
			add("public", str(p.Association.PublicIp), false, 0)
			add("public", str(p.Association.CarrierIp), false, 0)
		}
	}
	for _, p := range n.Ipv6Addresses {
		add(vpc, str(p.Ipv6Address), false, 0)
	}
	prefix := func(text *string) {
		p, err := netip.ParsePrefix(str(text))
		if err != nil {
			return
		}
		c := base
		c.addr = p.Masked().String()
		out = append(out, &c)
	}
	for _, p := range n.Ipv4Prefixes {
		prefix(p.Ipv4Prefix)
	}
	for _, p := range n.Ipv6Prefixes {
		prefix(p.Ipv6Prefix)
	}
	return out
}

// managedTag hands a managed service's name to the rules of names.
const managedTag = "aws:managed"

// name fills in the workload from the interface's own tags and, where it has none, the instance's. Interfaces often carry none.
func (e *estate) name(what nature, own, instance map[string]string, ep *event.Endpoint, wl *event.Workload) {
	tags := make(map[string]string, len(own)+len(instance)+1)
	maps.Copy(tags, instance)
	maps.Copy(tags, own)
	switch what.kind {
	case kindInstance, kindInterface, "branch", "ecs_task":
	case kindNode, "trunk":
		wl.Cluster = clusterOf(tags)
	default:
		if tags[managedTag] = what.name; what.name == "" {
			delete(tags, managedTag)
		}
	}
	if e.deps.Names != nil {
		e.deps.Names.Name(tags, ep, wl)
	}
}

// zoneID is the zone's id, which means the same in every account; its name does not.
func (e *estate) zoneID(n *types.NetworkInterface) string {
	if id := str(n.AvailabilityZoneId); id != "" {
		return id
	}
	return e.zones[str(n.SubnetId)]
}

func (e *estate) pageSize() *int32 { return aws.Int32(int32(e.cfg.PageSize)) } //nolint:gosec // 5 to 1000

func sorted(set map[string]bool) []string {
	out := make([]string, 0, len(set))
	for k := range set {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
