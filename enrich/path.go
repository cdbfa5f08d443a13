package enrich

import (
	"dredge/metadata"
	"dredge/row"
)

// Codes of traffic-path; it is there for egress only. 2 and 8 are internet gateways, 7 is a gateway endpoint.
const (
	pathVirtualPrivateGateway = 3
	pathInterRegionPeering    = 5
	pathLocalGateway          = 6
	pathGatewayEndpoint       = 7
)

// path is the class of way that the flow took. What makes a difference on the bill comes first: leaving AWS, leaving the region,
// leaving the zone. Only where zones are not known do VPC and account tell.
func (j *join) path(f *flow, out *row.Row) row.Path {
	src, dst := f.src.who, f.dst.who
	switch {
	case src.class == service || dst.class == service || out.TrafficPath == pathGatewayEndpoint:
		return row.PathAWSService
	case src.class == internet || dst.class == internet:
		return row.PathInternet
	case src.class == offCloud || dst.class == offCloud || out.TrafficPath == pathVirtualPrivateGateway || out.TrafficPath == pathLocalGateway:
		return row.PathOnPremises
	case out.TrafficPath == pathInterRegionPeering || differ(src.region, dst.region):
		return row.PathCrossRegion
	case differ(src.az, dst.az):
		return row.PathCrossAZ
	case src.az != 0 && src.az == dst.az:
		return row.PathSameAZ
	case differ(src.account, dst.account):
		return row.PathCrossAccount
	case vpcScope(f.src.scope) && f.src.scope == f.dst.scope || src.vpc != 0 && src.vpc == dst.vpc:
		return row.PathSameVPC
	case vpcScope(f.src.scope) && vpcScope(f.dst.scope) || differ(src.vpc, dst.vpc):
		return row.PathCrossVPC
	default:
		return row.PathUnknown
	}
}

// differ says whether two numbers of texts are known and not the same.
func differ(a, b uint32) bool { return a != 0 && b != 0 && a != b }

func vpcScope(s metadata.Scope) bool { return s != metadata.NoScope && s != metadata.Public }
