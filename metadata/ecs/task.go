package ecs

import (
	"net/netip"
	"strings"
	"time"

	"dredge/metadata/event"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// The keys by which rules of names find what ECS knows beside tags.
const (
	serviceTag = "aws:ecs:serviceName"
	familyTag  = "aws:ecs:family"
)

// host is the instance that bridge and host tasks run on.
type host struct {
	eni, ip, vpc, instance, subnet string
	launched                       int64
}

// claimKey is one claim of a task: an address, or one port of one.
type claimKey struct {
	scope, ip   string
	port, proto int
}

// ended says whether a task in this state no longer uses its network.
func ended(t *types.Task) bool {
	switch aws.ToString(t.LastStatus) {
	case "STOPPED", "DEPROVISIONING", "DELETED":
		return true
	}
	return t.ExecutionStoppedAt != nil || t.StoppedAt != nil
}

// began is when a task's containers may first have spoken: its interface is there when images are pulled.
func began(t *types.Task) int64 {
	for _, at := range []*time.Time{t.PullStartedAt, t.ConnectivityAt, t.StartedAt} {
		if at != nil && !at.IsZero() {
			return at.UnixMilli()
		}
	}
	return 0
}

// gone is when its containers had stopped.
func gone(t *types.Task) int64 {
	for _, at := range []*time.Time{t.ExecutionStoppedAt, t.StoppedAt} {
		if at != nil && !at.IsZero() {
			return at.UnixMilli()
		}
	}
	return 0
}

// attachment returns the interface of an awsvpc task.
func attachment(t *types.Task) (eni, subnet string, ips []string) {
	for _, a := range t.Attachments {
		if aws.ToString(a.Type) != "ElasticNetworkInterface" && aws.ToString(a.Type) != "eni" {
			continue
		}
		for _, d := range a.Details {
			v := aws.ToString(d.Value)
			switch aws.ToString(d.Name) {
			case "networkInterfaceId":
				eni = v
			case "subnetId":
				subnet = v
			case "privateIPv4Address", "ipv6Address":
				if _, err := netip.ParseAddr(v); err == nil {
					ips = append(ips, v)
				}
			}
		}
	}
	return eni, subnet, ips
}

// workload is what a task runs.
func (e *estate) workload(t *types.Task, vpc string, ep *event.Endpoint) *event.Workload {
	wl := &event.Workload{Account: e.account, Region: e.region, VPC: vpc, Cluster: afterSlash(aws.ToString(t.ClusterArn))}
	tags := map[string]string{}
	for _, tag := range t.Tags {
		tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	if service, ok := strings.CutPrefix(aws.ToString(t.Group), "service:"); ok {
		tags[serviceTag] = service
	}
	family, _, _ := strings.Cut(afterSlash(aws.ToString(t.TaskDefinitionArn)), ":")
	tags[familyTag] = family
	if e.deps.Names != nil {
		e.deps.Names.Name(tags, ep, wl)
	}
	return wl
}

// claims are what a running task claims. ok is false as long as it has no network, or too little is known of it.
func (e *estate) claims(t *types.Task) (keys []claimKey, ep *event.Endpoint, wl *event.Workload, ok bool) {
	arn := aws.ToString(t.TaskArn)
	ep = &event.Endpoint{Kind: "ecs_task", Name: afterSlash(arn)}
	if eni, subnet, ips := attachment(t); eni != "" && len(ips) > 0 {
		vpc := e.subnets[subnet]
		if vpc == "" {
			return nil, nil, nil, false
		}
		ep.ENI, ep.Subnet = eni, subnet
		for _, ip := range ips {
			keys = append(keys, claimKey{scope: vpc, ip: ip})
		}
		return keys, ep, e.workload(t, vpc, ep), true
	}
	h, known := e.hosts[aws.ToString(t.ContainerInstanceArn)]
	if !known || h.ip == "" {
		return nil, nil, nil, false
	}
	ep.ENI, ep.Instance, ep.Subnet = h.eni, h.instance, h.subnet
	seen := map[claimKey]bool{}
	for _, c := range t.Containers {
		for _, b := range c.NetworkBindings {
			k := claimKey{scope: h.vpc, ip: h.ip, port: int(aws.ToInt32(b.HostPort)), proto: protocol(b.Protocol)}
			if k.port > 0 && k.port < 65536 && !seen[k] {
				seen[k] = true
				keys = append(keys, k)
			}
		}
	}
	return keys, ep, e.workload(t, h.vpc, ep), len(keys) > 0
}

func protocol(p types.TransportProtocol) int {
	if p == types.TransportProtocolUdp {
		return 17
	}
	return 6
}

func afterSlash(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }

// cutTask cuts arn:aws:ecs:region:account:task/cluster/id at :task/ and returns what is before, and the cluster.
func cutTask(arn string) (before, cluster string, ok bool) {
	before, rest, ok := strings.Cut(arn, ":task/")
	if !ok {
		return "", "", false
	}
	cluster, _, ok = strings.Cut(rest, "/")
	return before, cluster, ok
}

// clusterARN is the cluster of a task, whose ARN holds it in the long form that all new tasks have.
func clusterARN(task string) string {
	before, after, ok := cutTask(task)
	if !ok {
		return "default"
	}
	return before + ":cluster/" + after
}
