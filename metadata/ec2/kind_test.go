package ec2

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Shapes of descriptions and types as AWS shows them: the answers in the pages and published outputs that each line names, with
// ids shortened where that changes nothing.
func TestNatureOfInterfaces(t *testing.T) {
	f := func(n types.NetworkInterface, wantKind, wantName string) {
		t.Helper()
		if got := natureOf(&n, tagMap(n.TagSet), nil); got != (nature{wantKind, wantName}) {
			t.Errorf("%s %q: %+v; want %s %q", n.InterfaceType, aws.ToString(n.Description), got, wantKind, wantName)
		}
	}
	managed := func(kind, requester, description string) types.NetworkInterface {
		return types.NetworkInterface{
			InterfaceType: types.NetworkInterfaceType(kind), RequesterId: &requester, RequesterManaged: aws.Bool(true), Description: &description,
			OwnerId: aws.String("123456789012"), Attachment: &types.NetworkInterfaceAttachment{InstanceOwnerId: aws.String("amazon-aws")},
		}
	}
	// A NAT gateway: outputs of describe-network-interfaces say nat_gateway, the API reference natGateway.
	f(managed("nat_gateway", "123456789012", "Interface for NAT Gateway nat-0a8b0e0d28266841f"), "nat_gateway", "nat-0a8b0e0d28266841f")
	f(managed("natGateway", "123456789012", "Interface for NAT Gateway nat-0a8b0e0d28266841f"), "nat_gateway", "nat-0a8b0e0d28266841f")
	f(managed("interface", "123456789012", "Interface for NAT Gateway nat-0a8b0e0d28266841f"), "nat_gateway", "nat-0a8b0e0d28266841f")
	// Transit gateway attachments: AWS's workshop "Multiple VPCs with Transit Gateway", Network Interfaces page.
	f(managed("transit_gateway", "amazon-aws", "Network Interface for Transit Gateway Attachment tgw-attach-06bf47fa39e5d1578"), "transit_gateway", "tgw-attach-06bf47fa39e5d1578")
	// Load balancers: docs.aws.amazon.com/elasticloadbalancing, "ELB app/load-balancer-name/load-balancer-id" and its siblings.
	f(managed("interface", "amazon-elb", "ELB app/my-load-balancer/50dc6c495c0c9188"), "load_balancer", "my-load-balancer")
	f(managed("network_load_balancer", "amazon-elb", "ELB net/my-nlb/50dc6c495c0c9188"), "network_load_balancer", "my-nlb")
	f(managed("gateway_load_balancer", "amazon-elb", "ELB gwy/my-gwlb/50dc6c495c0c9188"), "gateway_load_balancer", "my-gwlb")
	f(managed("interface", "amazon-elb", "ELB my-classic-load-balancer"), "load_balancer", "my-classic-load-balancer")
	// Lambda: the function that the text names is only one of those that share the interface.
	f(managed("lambda", "AROAEXAMPLE:000", "AWS Lambda VPC ENI-my-function-8f6bb7b4-5d8e-4b04-a4a8-50b3d3f8b5cf"), "lambda", "")
	f(managed("interface", "AROAEXAMPLE:000", "AWS Lambda VPC ENI-my-function-8f6bb7b4"), "lambda", "")
	// EKS: the control plane's, a node's secondary ones, a trunk and a branch.
	f(managed("interface", "123456789012", "Amazon EKS my-cluster"), "eks_control_plane", "my-cluster")
	f(types.NetworkInterface{
		InterfaceType: "interface", Description: aws.String("aws-K8S-i-0b904aec9d3e4b708"), RequesterManaged: aws.Bool(false),
		Attachment: &types.NetworkInterfaceAttachment{InstanceId: aws.String("i-0b904aec9d3e4b708")},
		TagSet:     []types.Tag{{Key: aws.String("node.k8s.amazonaws.com/instance_id"), Value: aws.String("i-0b904aec9d3e4b708")}},
	}, "eks_node", "")
	f(types.NetworkInterface{InterfaceType: "trunk", Description: aws.String("aws-k8s-trunk-eni")}, "trunk", "")
	f(types.NetworkInterface{InterfaceType: "branch", Description: aws.String("aws-k8s-branch-eni")}, "branch", "")
	// Other services.
	f(managed("vpc_endpoint", "727180483921", "VPC Endpoint Interface vpce-0123456789abcdef0"), "vpc_endpoint", "vpce-0123456789abcdef0")
	f(managed("interface", "amazon-rds", "RDSNetworkInterface"), "rds", "")
	f(managed("interface", "amazon-elasticache", "ElastiCache my-cluster-001"), "elasticache", "my-cluster-001")
	f(managed("interface", "AIDAEXAMPLE", "EFS mount target for fs-0123456789abcdef0 (fsmt-0123)"), "efs", "fs-0123456789abcdef0")
	f(managed("interface", "AROAEXAMPLE", "AWS created network interface for directory d-90670a1b2c"), "directory", "d-90670a1b2c")
	f(managed("interface", "AROAEXAMPLE", "Route 53 Resolver: rslvr-in-0123456789abcdef:rni-1"), "route53_resolver", "rslvr-in-0123456789abcdef:rni-1")
	f(managed("interface", "578734482556", "arn:aws:ecs:us-west-2:123456789012:attachment/a1b2c3d4"), "ecs_task", "")
	// What is not known is said to be managed, and of which type, never guessed.
	f(managed("interface", "amazon-new", "Something of next year"), "aws-managed:interface", "")
	f(managed("something_new", "amazon-new", ""), "aws-managed:something_new", "")

	// Plain ones.
	instance := types.NetworkInterface{InterfaceType: "interface", Attachment: &types.NetworkInterfaceAttachment{InstanceId: aws.String("i-1"), InstanceOwnerId: aws.String("1")}, OwnerId: aws.String("1")}
	f(instance, "instance", "")
	f(types.NetworkInterface{InterfaceType: "interface", Description: aws.String("ELB is what I called it")}, "interface", "")
	// Whoever makes an interface is its requester.
	f(types.NetworkInterface{InterfaceType: "interface", RequesterId: aws.String("AIDAEXAMPLE"), RequesterManaged: aws.Bool(false)}, "interface", "")
	f(types.NetworkInterface{InterfaceType: "efa", Attachment: instance.Attachment}, "instance", "")
	// Auto Scaling is the requester of what it launches.
	instance.RequesterId = aws.String("AROAAUTOSCALING")
	f(instance, "instance", "")
	if got := natureOf(&instance, nil, map[string]string{"kubernetes.io/cluster/prod": "owned"}); got.kind != "eks_node" {
		t.Errorf("the first interface of a node: %+v", got)
	}
}

func TestClusterOf(t *testing.T) {
	for want, tags := range map[string]map[string]string{
		"":     {"Name": "x"},
		"prod": {"kubernetes.io/cluster/prod": "owned"},
		"a":    {"eks:cluster-name": "a", "kubernetes.io/cluster/b": "owned"},
	} {
		if got := clusterOf(tags); got != want {
			t.Errorf("%v: %q; want %q", tags, got, want)
		}
	}
}
