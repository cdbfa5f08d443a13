package metadata

// Reason says what led to a Grade or a Scope. Its text form is public: it stands in rows and on metrics.
type Reason uint8

// The reasons.
const (
	// NoReason is the zero value.
	NoReason Reason = iota

	// Heartbeat: the owner's interface was seen to hold the address for the whole flow.
	Heartbeat
	// RecordIdentity: the flow record itself carries the identity (ECS fields).
	RecordIdentity
	// RecordInterface: the interface that recorded the flow owns the address.
	RecordInterface
	// Interval: a told tenure holds the flow.
	Interval
	// OneWorkload: several owners could be meant, and all of them belong to one workload.
	OneWorkload
	// NoWorkload: the owner is certain, but nobody told what runs there at that time.
	NoWorkload

	// WatermarkBehind: a source has not told everything up to the flow's end.
	WatermarkBehind
	// NoWatermark: no source ever said how far it has told this scope.
	NoWatermark

	// SecondOwner: two owners inside the flow.
	SecondOwner
	// NearHandover: another owner close to the flow, but outside it.
	NearHandover
	// StartsBeforeOwner: the flow began before the owner did.
	StartsBeforeOwner
	// EndsAfterOwner: the flow ended after the owner did.
	EndsAfterOwner
	// OwnerGap: the owner was away during a part of the flow.
	OwnerGap
	// WorkloadChanged: the owner stayed, what runs there changed.
	WorkloadChanged
	// LayersDisagree: a pod or task claims the address on one interface, and another interface holds it.
	LayersDisagree
	// AddressMoved: the address went to another interface after the pod or task had claimed it.
	AddressMoved

	// SharedInterface: the interface carries several workloads, and no pod or task claim covers the flow.
	SharedInterface
	// Released: the last known owner had given the address back.
	Released
	// BeforeFirstOwner: the flow is older than the first known owner.
	BeforeFirstOwner
	// BeforeRetention: the flow is older than the history that is kept.
	BeforeRetention
	// NeverSeen: nothing was ever told of the address.
	NeverSeen

	// ScopeUnknown: the routing domain of the address is not known.
	ScopeUnknown
	// ScopeOverlap: several domains could be meant.
	ScopeOverlap
	// LocalCIDR: a CIDR of the local domain covers the address.
	LocalCIDR
	// LocalAddress: the local domain has an owner of the address.
	LocalAddress
	// Topology: a peering or transit route leads to the domain.
	Topology
	// UniqueSpace: the only domain that has the address, where address space is configured to be unique.
	UniqueSpace
	// RecordScope: the flow record itself says the domain (transit gateway fields, traffic path, next hop).
	RecordScope

	// CIDR: a declared network covers the address.
	CIDR
	// PublicAddress: the address is public and nobody of ours owns it.
	PublicAddress

	// NoAddress: the record holds no address for this end.
	NoAddress
	reasonCount
)

//nolint:gochecknoglobals // read-only table
var reasonText = [reasonCount]string{
	NoReason:          "none",
	Heartbeat:         "heartbeat",
	RecordIdentity:    "record-identity",
	RecordInterface:   "record-interface",
	Interval:          "interval",
	OneWorkload:       "one-workload",
	NoWorkload:        "no-workload",
	WatermarkBehind:   "watermark-behind",
	NoWatermark:       "no-watermark",
	SecondOwner:       "second-owner",
	NearHandover:      "near-handover",
	StartsBeforeOwner: "starts-before-owner",
	EndsAfterOwner:    "ends-after-owner",
	OwnerGap:          "owner-gap",
	WorkloadChanged:   "workload-changed",
	LayersDisagree:    "layers-disagree",
	AddressMoved:      "address-moved",
	SharedInterface:   "shared-interface",
	Released:          "released",
	BeforeFirstOwner:  "before-first-owner",
	BeforeRetention:   "before-retention",
	NeverSeen:         "never-seen",
	ScopeUnknown:      "scope-unknown",
	ScopeOverlap:      "scope-overlap",
	LocalCIDR:         "local-cidr",
	LocalAddress:      "local-address",
	Topology:          "topology",
	UniqueSpace:       "unique-space",
	RecordScope:       "record-scope",
	CIDR:              "cidr",
	PublicAddress:     "public-address",
	NoAddress:         "no-address",
}

// String returns the reason's public text.
func (r Reason) String() string {
	if r < reasonCount {
		return reasonText[r]
	}
	return "invalid"
}

// Reasons returns every reason in order, for reference pages and tests. The slice is the caller's.
func Reasons() []Reason {
	all := make([]Reason, reasonCount)
	for i := range all {
		all[i] = Reason(i)
	}
	return all
}
