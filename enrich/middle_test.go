package enrich_test

import (
	"os"
	"testing"
)

// TestMiddleThings holds that everything that can stand between two ends has a case: lines in, rows out (TestCases runs them). Those by AWS are
// made of the records that AWS publishes, not of ours.
func TestMiddleThings(t *testing.T) {
	for thing, file := range map[string]string{
		"NAT gateway":                "nat-gateway.txt",
		"NAT gateway, regional":      "regional-nat.txt",
		"transit gateway attachment": "middle-transit-attachment.txt",
		"transit gateway's own log":  "transit-gateway.txt",
		"network load balancer":      "middle-nlb.txt",
		"application load balancer":  "middle-alb.txt",
		"interface endpoint":         "middle-interface-endpoint.txt",
		"gateway endpoint":           "middle-gateway-endpoint.txt",
		"Lambda":                     "middle-lambda.txt",
		"ECS awsvpc":                 "ecs-fields.txt",
		"EKS node":                   "shared-node.txt",
		"IPv6":                       "middle-ipv6.txt",
		"EFA":                        "middle-efa.txt",
		"both addresses differ":      "middle-both-addresses.txt",
		"appliance":                  "middle-appliance.txt",
		"NAT gateway, by AWS":        "aws-nat-gateway.txt",
		"transit gateway, by AWS":    "aws-transit-gateway.txt",
		"EKS pod, by AWS":            "aws-eks-pod.txt",
		"S3, by AWS":                 "aws-s3.txt",
	} {
		text, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Errorf("%s: %v", thing, err)
			continue
		}
		for _, part := range []string{"lines", "rows"} {
			if len(section(string(text), part)) < 10 {
				t.Errorf("%s: %s has no %s", thing, file, part)
			}
		}
	}
}
