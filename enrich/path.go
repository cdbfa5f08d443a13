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
	src, dst := out.Src.Identity, out.Dst.Identity
	switch {
	case src.Kind == row.KindService || dst.Kind == row.KindService || out.TrafficPath == pathGatewayEndpoint:
		return row.PathAWSService
	case src.Kind == row.KindInternet || dst.Kind == row.KindInternet:
		return row.PathInternet
	case out.TrafficPath == pathVirtualPrivateGateway || out.TrafficPath == pathLocalGateway || offCloud(src) || offCloud(dst):
		return row.PathOnPremises
	case out.TrafficPath == pathInterRegionPeering || src.Region != "" && dst.Region != "" && src.Region != dst.Region:
		return row.PathCrossRegion
	case src.AZ != "" && dst.AZ != "":
		if src.AZ == dst.AZ {
			return row.PathSameAZ
		}
		return row.PathCrossAZ
	case src.Account != "" && dst.Account != "" && src.Account != dst.Account:
		return row.PathCrossAccount
	case vpcScope(f.src.scope) && f.src.scope == f.dst.scope || src.VPC != "" && src.VPC == dst.VPC:
		return row.PathSameVPC
	case vpcScope(f.src.scope) && vpcScope(f.dst.scope) || src.VPC != "" && dst.VPC != "":
		return row.PathCrossVPC
	default:
		return row.PathUnknown
	}
}

func vpcScope(s metadata.Scope) bool { return s != metadata.NoScope && s != metadata.Public }

// offCloud says whether id is a declared network outside all VPCs.
func offCloud(id *row.Identity) bool {
	return id.Site != "" || id.Kind == row.KindNetwork && id.VPC == ""
}
