// Package event is the public schema of identity events, version 1: one JSON object per line, written by anything that
// knows who owns an address and read by dredge. docs/events.md describes it for people who bring their own source.
//
// Applying events commutes: any order and any duplication of the same set gives the same knowledge.
package event

// Op is what an event says.
type Op string

// The operations. An unknown op is counted and skipped.
const (
	// Assign opens or refines the tenure of Owner on (Scope, IP), or claims a CIDR.
	Assign Op = "assign"
	// Release closes Owner's tenure only. Owner is mandatory.
	Release Op = "release"
	// Observe extends the last sighting of Owner on (Scope, IP).
	Observe Op = "observe"
	// Describe changes the workload data of Owner from From on; it needs no address.
	Describe Op = "describe"
	// Progress is the watermark: everything of Scope (absent: of the whole source) up to To has been told.
	Progress Op = "progress"
	// SnapBegin and SnapEnd bracket a full listing of a scope.
	SnapBegin Op = "snap_begin"
	SnapEnd   Op = "snap_end"
	// Coverage says which prefix's flows are logged into this application.
	Coverage Op = "coverage"
	// Topology says that packets from Scope to CIDR arrive in ToScope (peering, transit gateway); Release with the same Owner
	// and CIDR ends it.
	Topology Op = "topology"
)

// Version is the schema version that this package writes.
const Version = 1

// Event is one line. Times are Unix milliseconds; absent ones are 0.
type Event struct {
	V     int    `json:"v"`
	Src   string `json:"src,omitempty"`
	Epoch int64  `json:"epoch,omitempty"`
	Seq   int64  `json:"seq,omitempty"`
	Op    Op     `json:"op"`
	Obs   int64  `json:"obs,omitempty"`
	// From and To are the valid time, half open. From absent means Obs, and since ever when both are; To absent means open. A
	// release says its instant in To, else in From, else in Obs; so does an observe, unless From and To span a range.
	From int64 `json:"from,omitempty"`
	To   int64 `json:"to,omitempty"`
	// Acc is the border uncertainty in milliseconds (crawl gap, clock skew). It reaches outwards: an assign may be true since
	// From − Acc already, a release may have become true as late as To + Acc.
	Acc int64 `json:"acc,omitempty"`
	// Scope is the routing domain: a VPC id, public, or a name of your own. A cidr without one is a network of no domain.
	Scope string `json:"scope,omitempty"`
	IP    string `json:"ip,omitempty"`
	CIDR  string `json:"cidr,omitempty"`
	// Prefix is coverage's CIDR.
	Prefix string `json:"prefix,omitempty"`
	// Owner is the stable endpoint id: eni:eni-0a1b for an interface, else a pod UID or task ARN. An interface and what runs on
	// it are two layers: their claims to one address do not contradict each other.
	Owner string `json:"owner,omitempty"`
	// Port and Proto narrow a claim on a shared host address.
	Port  int `json:"port,omitempty"`
	Proto int `json:"proto,omitempty"`
	// Primary says whether the address is the interface's primary one; SDC whether source/dest check is on.
	Primary *bool `json:"primary,omitempty"`
	SDC     *bool `json:"sdc,omitempty"`
	// Shared says whether several workloads use the interface, Forwarder whether it passes other people's packets on; absent
	// ones follow from EP.Kind.
	Shared    *bool `json:"shared,omitempty"`
	Forwarder *bool `json:"forwarder,omitempty"`
	// Rver is the source's resource version (ECS detail.version, Kubernetes resourceVersion).
	Rver int64 `json:"rver,omitempty"`
	// Listen are the ports on which Owner accepts connections.
	Listen []Listen  `json:"listen,omitempty"`
	EP     *Endpoint `json:"ep,omitempty"`
	WL     *Workload `json:"wl,omitempty"`
	// Logged and Actions belong to coverage: whether flows are logged, and of which action (ALL, ACCEPT, REJECT).
	Logged  *bool  `json:"logged,omitempty"`
	Actions string `json:"actions,omitempty"`
	// ToScope and Via belong to topology: the domain that packets arrive in, and what carries them (peering, transit-gateway).
	ToScope string `json:"to_scope,omitempty"`
	Via     string `json:"via,omitempty"`
}

// Start returns when the event became true: From, else Obs; 0 is since ever.
func (e *Event) Start() int64 {
	if e.From != 0 {
		return e.From
	}
	return e.Obs
}

// End returns the instant of a release or the end of an observe: To, else From, else Obs.
func (e *Event) End() int64 {
	if e.To != 0 {
		return e.To
	}
	return e.Start()
}

// Listen is one port that an owner accepts connections on.
type Listen struct {
	Proto int `json:"proto"`
	Port  int `json:"port"`
}

// Endpoint describes the owner itself.
type Endpoint struct {
	Kind     string `json:"kind,omitempty"`
	ENI      string `json:"eni,omitempty"`
	Instance string `json:"instance,omitempty"`
	Name     string `json:"name,omitempty"`
	Subnet   string `json:"subnet,omitempty"`
	AZ       string `json:"az,omitempty"`
}

// Workload describes what runs behind the owner.
type Workload struct {
	App       string            `json:"app,omitempty"`
	AppSource string            `json:"app_source,omitempty"`
	Cluster   string            `json:"cluster,omitempty"`
	Account   string            `json:"account,omitempty"`
	VPC       string            `json:"vpc,omitempty"`
	Region    string            `json:"region,omitempty"`
	Team      string            `json:"team,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
}
