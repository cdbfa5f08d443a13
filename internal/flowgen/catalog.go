package flowgen

import (
	"fmt"
	"math"
	"strings"
)

// Ports and protocols that the estate uses.
const (
	protoICMP = 1
	protoTCP  = 6
	protoUDP  = 17
)

// Home and Remote are the regions: the flow logs of Home reach the stream, Remote is known by identity and peering only.
const (
	Home   = "us-east-1"
	Remote = "eu-west-1"
)

type vpcSpec struct {
	name, account, region, az string
	second                    byte // 10.second.0.0/16
	v6, logged, encryption    bool
	format                    string
}

// vpcSpecs: prod and dev have the same address space on purpose; they are never connected privately.
//
//nolint:gochecknoglobals // read-only table
var vpcSpecs = []vpcSpec{
	{name: "prod", account: "111122223333", region: Home, az: "use1-az", second: 0, v6: true, logged: true, format: V5},
	{name: "data", account: "012345678901", region: Home, az: "use1-az", second: 1, logged: true, format: V2},
	{name: "eks", account: "111122223333", region: Home, az: "use1-az", second: 2, v6: true, logged: true, encryption: true, format: V11},
	{name: "dev", account: "444455556666", region: Home, az: "use1-az", second: 0, logged: true, format: V2},
	{name: "shared", account: "777788889999", region: Home, az: "use1-az", second: 4, logged: true, format: V8},
	{name: "eu", account: "777788889999", region: Remote, az: "euw1-az", second: 3, v6: true, format: V5},
}

// peerings are VPC peering connections; attachments join their VPCs through one transit gateway. VPC dev has no attachment: a
// gateway can route an address space to one VPC only, and dev shares its own with prod.
//
//nolint:gochecknoglobals // read-only tables
var (
	peerings    = [][2]string{{"prod", "data"}, {"prod", "eks"}, {"eks", "data"}, {"prod", "eu"}}
	attachments = [][2]string{{"prod", "shared"}, {"eks", "shared"}}
)

func isVPC(name string) bool {
	for _, v := range vpcSpecs {
		if v.name == name {
			return true
		}
	}
	return false
}

func vpcNames() string {
	names := make([]string, len(vpcSpecs))
	for i, v := range vpcSpecs {
		names[i] = v.name
	}
	return strings.Join(names, ", ")
}

// kind is what an owner of addresses is.
type kind uint8

const (
	kindInstance kind = iota
	kindNode          // EKS node: its interface is shared by pods
	kindPod
	kindTask // ECS task in awsvpc mode
	kindALB
	kindNLB        // ends connections with its own address
	kindForwardNLB // preserves the client's address
	kindNAT
	kindTGW
	kindRDS
	kindEndpoint
	kindIdle
)

// String is the kind as identity events name it.
func (k kind) String() string {
	return [...]string{
		"instance", "eks_node", "pod", "ecs_task", "load_balancer", "network_load_balancer", "network_load_balancer",
		"nat_gateway", "transit_gateway", "rds", "vpc_endpoint", "interface",
	}[k]
}

// interfaceType is the flow-log field; EC2's own word for plain interfaces is not logged.
func (k kind) interfaceType() string {
	switch k {
	case kindNAT, kindTGW, kindEndpoint, kindNLB, kindForwardNLB:
		return k.String()
	default:
		return ""
	}
}

// passes says that the interface passes other people's packets on: whoever refuses such a one is behind it.
func (k kind) passes() bool { return k == kindNAT || k == kindTGW || k == kindForwardNLB }

// managed interfaces belong to a service: no instance, and the account of the record is unknown for some.
func (k kind) managed() bool { return k >= kindALB && k <= kindEndpoint }

func (k kind) accountUnknown() bool {
	return k == kindNLB || k == kindForwardNLB || k == kindRDS || k == kindEndpoint
}

type appSpec struct {
	name, vpc string
	kind      kind
	members   int
	port      uint16
	proto     uint8
	team      string
	calls     string // names of the applications that it calls, with an optional =weight
}

// appSpecs is the declared estate: who runs where and who calls whom. The kinds nat_gateway and transit_gateway are made by
// build, not declared.
//
//nolint:gochecknoglobals // read-only table
var appSpecs = []appSpec{
	{"edge-alb", "prod", kindALB, 3, 443, protoTCP, "edge", "api-gateway=6"},
	{"stream-nlb", "prod", kindForwardNLB, 3, 443, protoTCP, "edge", ""},
	{"partner-nlb", "prod", kindNLB, 3, 443, protoTCP, "edge", "partner-api=2"},
	{"api-gateway", "prod", kindInstance, 18, 8443, protoTCP, "edge", "checkout=3 cart=3 search=4 playback=5 frontend=3"},
	{"partner-api", "prod", kindTask, 8, 8090, protoTCP, "partners", "checkout=2 orders-db"},
	{"streamer", "prod", kindInstance, 16, 443, protoTCP, "playback", "playback=3 sessions-cache=2"},
	{"checkout", "prod", kindInstance, 14, 8080, protoTCP, "payments", "orders-db=4 kafka=2 fraud=2 secrets-endpoint eu-api notifier"},
	{"cart", "prod", kindTask, 14, 8081, protoTCP, "payments", "sessions-cache=4 pricing=2"},
	{"playback", "prod", kindInstance, 18, 7001, protoTCP, "playback", "sessions-cache=3 recommender=3 kafka=2"},
	{"search", "prod", kindInstance, 12, 9200, protoTCP, "discovery", "catalog=3 kafka"},
	{"recommender", "prod", kindInstance, 16, 7010, protoTCP, "discovery", "kafka=2 inference=3"},
	{"fraud", "prod", kindTask, 10, 8085, protoTCP, "payments", "orders-db inference"},
	{"encoder", "prod", kindInstance, 24, 7020, protoTCP, "media", "encoder=3 metrics"},
	{"report-batch", "prod", kindTask, 12, 0, protoTCP, "finance", "orders-db=2 search directory"},
	{"secrets-endpoint", "prod", kindEndpoint, 3, 443, protoTCP, "security", ""},
	{"orders-db", "data", kindRDS, 2, 5432, protoTCP, "payments", ""},
	{"sessions-cache", "data", kindInstance, 6, 6379, protoTCP, "platform", ""},
	{"kafka", "data", kindInstance, 9, 9092, protoTCP, "platform", "kafka=2"},
	{"frontend", "eks", kindPod, 24, 8080, protoTCP, "web", "catalog=4 pricing=3 sessions-cache=2"},
	{"catalog", "eks", kindPod, 20, 8082, protoTCP, "discovery", "pricing=2 kafka metrics"},
	{"pricing", "eks", kindPod, 16, 50051, protoTCP, "payments", "sessions-cache=2"},
	{"inference", "eks", kindPod, 16, 9000, protoTCP, "ml", "kafka"},
	{"directory", "shared", kindInstance, 4, 636, protoTCP, "platform", ""},
	{"notifier", "shared", kindTask, 6, 8070, protoTCP, "web", "directory"},
	{"metrics", "shared", kindInstance, 6, 8125, protoUDP, "platform", ""},
	{"api-dev", "dev", kindInstance, 14, 8443, protoTCP, "edge", "checkout-dev=3"},
	{"checkout-dev", "dev", kindInstance, 12, 8080, protoTCP, "payments", "loadtest-dev"},
	{"loadtest-dev", "dev", kindTask, 16, 7777, protoTCP, "quality", "api-dev=4"},
	{"eu-api", "eu", kindInstance, 8, 8443, protoTCP, "edge", ""},
}

type edge struct {
	from, to *app
	until    float64 // cumulated weight
}

// plainApps are the applications of an estate of instances alone.
func (s *Sim) plainApps() []appSpec {
	n := s.cfg.ExtraApps
	specs := make([]appSpec, n)
	for i := range specs {
		var calls strings.Builder
		for range s.estate.between(2, 6) {
			fmt.Fprintf(&calls, "svc-%03d ", s.estate.IntN(n))
		}
		specs[i] = appSpec{
			name: fmt.Sprintf("svc-%03d", i), vpc: "prod", kind: kindInstance, port: uint16(7100 + i%800), proto: protoTCP,
			members: max(1, s.cfg.Instances/n), team: fmt.Sprintf("team-%02d", i%17), calls: calls.String(),
		}
	}
	return specs
}

// catalogue makes the applications and their graph; extra ones get a random graph.
func (s *Sim) catalogue() {
	specs := append([]appSpec(nil), appSpecs...)
	if s.cfg.Instances > 0 {
		specs = s.plainApps()
	}
	for i := range s.cfg.ExtraApps {
		if s.cfg.Instances > 0 {
			break
		}
		var calls strings.Builder
		for range s.estate.between(1, 4) {
			// Calls stay inside one VPC: both VPCs get every second one.
			fmt.Fprintf(&calls, "svc-%03d ", s.estate.IntN(s.cfg.ExtraApps)&^1|i&1)
		}
		specs = append(specs, appSpec{
			name: fmt.Sprintf("svc-%03d", i), vpc: [2]string{"prod", "dev"}[i&1],
			kind: [2]kind{kindInstance, kindTask}[i/2&1], members: 12, port: uint16(7100 + i%800), proto: protoTCP,
			team: fmt.Sprintf("team-%02d", i%17), calls: calls.String(),
		})
	}
	byName := map[string]*app{}
	for i := range specs {
		spec := &specs[i]
		a := &app{
			name: spec.name, vpc: s.vpcByName[spec.vpc], kind: spec.kind, port: spec.port, proto: spec.proto, team: spec.team,
			members: max(1, int(math.Round(float64(spec.members)*s.cfg.Scale))),
		}
		if spec.kind.managed() {
			a.members = spec.members // one per zone, whatever the load
		}
		byName[a.name] = a
		s.apps = append(s.apps, a)
	}
	var total float64
	for i := range specs {
		for call := range strings.FieldsSeq(specs[i].calls) {
			name, weight := call, 1.0
			if cut, w, ok := strings.Cut(call, "="); ok {
				name = cut
				weight = float64(w[0] - '0')
			}
			to := byName[name]
			if to == nil { // an odd number of extra applications leaves the last one's pair out
				continue
			}
			total += weight
			s.edges = append(s.edges, edge{from: byName[specs[i].name], to: to, until: total})
		}
	}
	s.albs, s.streamNLB, s.streamers = byName["edge-alb"], byName["stream-nlb"], byName["streamer"]
	s.partnerNLB = byName["partner-nlb"]
}
