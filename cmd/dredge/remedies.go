package main

import "dredge/metadata"

// remedy says what an operator can do so that an address which could not be named for this reason is.
func remedy(reason string) string {
	for _, r := range metadata.Reasons() {
		if r.String() == reason {
			return remedies[r]
		}
	}
	return ""
}

// remedies has a line for every reason for which an end may stay unnamed.
var remedies = map[metadata.Reason]string{ //nolint:gochecknoglobals // read-only table
	metadata.NoReason:          "look at `dredge explain` of one of its lines",
	metadata.Interval:          "give its endpoint a tag that a rule of identity.names reads; `dredge names test` shows which rules fit",
	metadata.Heartbeat:         "give its endpoint a tag that a rule of identity.names reads; `dredge names test` shows which rules fit",
	metadata.RecordIdentity:    "give its task a tag that a rule of identity.names reads",
	metadata.RecordInterface:   "give its endpoint a tag that a rule of identity.names reads; `dredge names test` shows which rules fit",
	metadata.OneWorkload:       "give its endpoint a tag that a rule of identity.names reads",
	metadata.NoWorkload:        "give its endpoint a tag that a rule of identity.names reads; `dredge names test` shows which rules fit",
	metadata.WatermarkBehind:   "a source is late: see the problems above and the dashboard Truth; a longer pipeline.hold waits for it",
	metadata.NoWatermark:       "add a source for this VPC's account: identity.ec2.accounts; an identity file must tell progress or set complete",
	metadata.SecondOwner:       "nothing: it changed hands during the flow, and a guess could be wrong",
	metadata.NearHandover:      "nothing: it changed hands within a minute of the flow; a queue of changes (queue_url) makes the borders narrower",
	metadata.StartsBeforeOwner: "a queue of changes (identity.ec2.queue_url) tells starts sooner and more exactly than listings",
	metadata.EndsAfterOwner:    "nothing: the flow outlived its owner",
	metadata.OwnerGap:          "nothing, if the owner really went away; else look at the source's errors",
	metadata.WorkloadChanged:   "nothing: what runs there changed during the flow",
	metadata.LayersDisagree:    "check that the cluster's vpc in identity.kube is right, and that one cluster is not configured twice",
	metadata.AddressMoved:      "nothing, if it is rare; else the pod source is late: see dredge_metadata_kube_progress_timestamp_seconds",
	metadata.SharedInterface:   "watch what runs there: identity.kube for pods, identity.ecs for tasks, or version 7 fields in the flow log for ECS",
	metadata.Released:          "find who has it now: the account of this VPC may lack in identity.ec2.accounts, or its listing fails",
	metadata.BeforeFirstOwner:  "nothing for old flows: the source began later than the flow",
	metadata.BeforeRetention:   "a longer identity.store.retention, for backlogs and replays",
	metadata.NeverSeen:         "add the account that owns it to identity.ec2.accounts, its cluster to identity.kube, or declare its network in identity.networks",
	metadata.ScopeUnknown:      "add vpc-id and traffic-path to the flow log's format, and list peerings and transit gateways of the account",
	metadata.ScopeOverlap:      "several VPCs use this address: list peerings and transit gateways, so that a route decides",
	metadata.LocalCIDR:         "add the account that owns this VPC to identity.ec2.accounts, or see why its listing fails",
	metadata.LocalAddress:      "add the account that owns this VPC to identity.ec2.accounts, or see why its listing fails",
	metadata.Topology:          "add the account of the VPC that the route leads to",
	metadata.UniqueSpace:       "add the account of the VPC that has the address",
	metadata.RecordScope:       "add the account of the VPC that the record names",
	metadata.CIDR:              "nothing, if the network's name is enough; else add a source that knows who is in it",
	metadata.PublicAddress:     "identity.geo names AWS services, countries and networks of public addresses",
	metadata.NoAddress:         "the record has no address for this end: add srcaddr, dstaddr and their pkt- forms to the format",
}
