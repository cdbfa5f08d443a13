package ec2

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// nature is what an interface belongs to.
type nature struct {
	// kind is the endpoint's, name what the service calls the thing: a load balancer's name, a NAT gateway's id.
	kind, name string
}

// The kinds that the code asks for. Others stand in the tables only.
const (
	kindInterface = "interface" // a plain one, attached to nothing that says more
	kindInstance  = "instance"
	kindNode      = "eks_node"
	kindLambda    = "lambda"
	managedPrefix = "aws-managed:"
)

// byType are the interface types that say it all. DescribeNetworkInterfaces answers nat_gateway where the API reference lists
// natGateway.
//
//nolint:gochecknoglobals // read-only table
var byType = map[types.NetworkInterfaceType]string{
	"nat_gateway":                                           "nat_gateway",
	"regional_nat_gateway":                                  "nat_gateway",
	types.NetworkInterfaceTypeNatGateway:                    "nat_gateway",
	types.NetworkInterfaceTypeLoadBalancer:                  "load_balancer",
	types.NetworkInterfaceTypeNetworkLoadBalancer:           "network_load_balancer",
	types.NetworkInterfaceTypeGatewayLoadBalancer:           "gateway_load_balancer",
	types.NetworkInterfaceTypeGatewayLoadBalancerEndpoint:   "gateway_load_balancer_endpoint",
	types.NetworkInterfaceTypeTransitGateway:                "transit_gateway",
	types.NetworkInterfaceTypeVpcEndpoint:                   "vpc_endpoint",
	types.NetworkInterfaceTypeLambda:                        kindLambda,
	types.NetworkInterfaceTypeTrunk:                         "trunk",
	types.NetworkInterfaceTypeBranch:                        "branch",
	types.NetworkInterfaceTypeQuicksight:                    "quicksight",
	types.NetworkInterfaceTypeGlobalAcceleratorManaged:      "global_accelerator",
	types.NetworkInterfaceTypeApiGatewayManaged:             "api_gateway",
	types.NetworkInterfaceTypeIotRulesManaged:               "iot_rules",
	types.NetworkInterfaceTypeAwsCodestarConnectionsManaged: "codestar_connections",
}

// descriptions are the shapes of descriptions in order of trial, for interfaces whose type says too little. AWS changes them
// without notice, so what fits none is told as managed and of its type, never guessed. name cuts out what the thing is called.
//
//nolint:gochecknoglobals // read-only table
var descriptions = []struct {
	prefix, kind string
	name         func(rest string) string
}{
	{"ELB app/", "load_balancer", upToSlash},
	{"ELB net/", "network_load_balancer", upToSlash},
	{"ELB gwy/", "gateway_load_balancer", upToSlash},
	{"ELB ", "load_balancer", whole},
	{"Interface for NAT Gateway ", "nat_gateway", word},
	{"VPC Endpoint Interface ", "vpc_endpoint", word},
	{"AWS Lambda VPC ENI", kindLambda, nothing}, // the function that it names is only one of those that share it
	{"arn:aws:ecs:", "ecs_task", nothing},       // of its attachment; the task is told by ECS
	{"arn:aws-cn:ecs:", "ecs_task", nothing},
	{"arn:aws-us-gov:ecs:", "ecs_task", nothing},
	{"RDSNetworkInterface", "rds", nothing}, // names no database
	{"Network interface for DBProxy", "rds_proxy", nothing},
	{"RedshiftNetworkInterface", "redshift", nothing},
	{"ElastiCache ", "elasticache", word},
	{"EFS mount target for ", "efs", word},
	{"Network Interface for Transit Gateway Attachment ", "transit_gateway", word},
	{"AWS created network interface for directory ", "directory", word},
	{"Route 53 Resolver: ", "route53_resolver", word},
	{"Route 53 Resolver ", "route53_resolver", nothing},
	{"Amazon EKS ", "eks_control_plane", whole},
	{"aws-K8S-i-", kindNode, nothing},
	{"aws-k8s-branch-eni", "branch", nothing},
	{"aws-k8s-trunk-eni", "trunk", nothing},
}

func whole(rest string) string { return strings.TrimSpace(rest) }

func nothing(string) string { return "" }

func word(rest string) string {
	rest, _, _ = strings.Cut(strings.TrimSpace(rest), " ")
	return strings.Trim(rest, "(),:")
}

func upToSlash(rest string) string {
	rest, _, _ = strings.Cut(rest, "/")
	return rest
}

// natureOf says what an interface belongs to: by its type first, by who asked for it second, by its description last. instance
// are the tags of the instance that it is attached to.
func natureOf(n *types.NetworkInterface, own, instance map[string]string) nature {
	description := str(n.Description)
	byText := nature{}
	for _, d := range descriptions {
		if rest, ok := strings.CutPrefix(description, d.prefix); ok {
			byText = nature{d.kind, d.name(rest)}
			break
		}
	}
	attached := n.Attachment != nil && str(n.Attachment.InstanceId) != ""
	switch kind := byType[n.InterfaceType]; {
	case kind != "":
		if byText.kind != kind {
			byText.name = "" // the text is somebody else's
		}
		return nature{kind, byText.name}
	case managed(n) && byText.kind != "":
		return byText
	case managed(n) && !attached:
		return nature{kind: managedPrefix + string(n.InterfaceType)}
	case byText.kind == kindNode || byText.kind == "branch" || byText.kind == "trunk" || byText.kind == "ecs_task":
		return byText // made by a controller with its own credentials, not by a service
	}
	switch {
	case isNode(own) || attached && isNode(instance):
		return nature{kind: kindNode}
	case attached:
		return nature{kind: kindInstance}
	case byText.kind != "" && n.Attachment != nil:
		return byText
	}
	return nature{kind: kindInterface}
}

// managed says whether a service made the interface. A requester alone says nothing: everybody who makes one is named there.
func managed(n *types.NetworkInterface) bool {
	return n.RequesterManaged != nil && *n.RequesterManaged || strings.HasPrefix(str(n.RequesterId), "amazon-")
}

// isNode says whether tags are those of a Kubernetes node or of an interface that one made for its pods.
func isNode(tags map[string]string) bool {
	for _, key := range []string{
		"node.k8s.amazonaws.com/instance_id", "cluster.k8s.amazonaws.com/name", "eks:cluster-name", "aws:eks:cluster-name", "eks:nodegroup-name",
		"karpenter.sh/nodepool", "karpenter.sh/provisioner-name",
	} {
		if tags[key] != "" {
			return true
		}
	}
	for key := range tags {
		if strings.HasPrefix(key, "kubernetes.io/cluster/") {
			return true
		}
	}
	return false
}

// clusterOf is the name of the Kubernetes cluster that tags tell.
func clusterOf(tags map[string]string) string {
	for _, key := range []string{"eks:cluster-name", "aws:eks:cluster-name", "cluster.k8s.amazonaws.com/name", "alpha.eksctl.io/cluster-name"} {
		if v := tags[key]; v != "" {
			return v
		}
	}
	name := ""
	for key := range tags {
		if after, ok := strings.CutPrefix(key, "kubernetes.io/cluster/"); ok && (name == "" || after < name) {
			name = after
		}
	}
	return name
}

func str(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func tagMap(tags []types.Tag) map[string]string {
	if len(tags) == 0 {
		return nil
	}
	out := make(map[string]string, len(tags))
	for _, t := range tags {
		out[str(t.Key)] = str(t.Value)
	}
	return out
}
