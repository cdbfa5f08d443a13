package sonar

import "dredge/metadata"

// why says in words what led to a grade.
func why(g metadata.Grade, r metadata.Reason) string {
	text, ok := whys[r]
	if !ok {
		text = r.String()
	}
	switch {
	case g.Names():
		return "named: " + text
	case g == metadata.Unknown:
		return "not named: " + text
	default:
		return "not named (" + g.String() + "): " + text
	}
}

//nolint:gochecknoglobals // read-only table
var whys = map[metadata.Reason]string{
	metadata.NoReason:          "nothing led to it",
	metadata.Heartbeat:         "traffic of the owner's own interface showed it with this address at that time",
	metadata.Interval:          "one owner was told for the time, and every source has told everything up to then",
	metadata.OneWorkload:       "several owners could be meant, and all of them belong to one workload",
	metadata.NoWorkload:        "the owner is certain, but nobody told what ran there",
	metadata.WatermarkBehind:   "a source has not told everything up to then: a change may be on its way",
	metadata.NoWatermark:       "no source ever said how far it has told this scope; see progress events",
	metadata.SecondOwner:       "two owners held the address at that time",
	metadata.NearHandover:      "another owner held the address less than a minute away",
	metadata.StartsBeforeOwner: "the time lies before the owner is known to have had it",
	metadata.EndsAfterOwner:    "the time lies after the owner had given it back",
	metadata.OwnerGap:          "the owner was away around that time",
	metadata.WorkloadChanged:   "the owner stayed, but what ran there changed about then",
	metadata.LayersDisagree:    "a pod or task claims it on one interface, and another interface held it",
	metadata.AddressMoved:      "it went to another interface after the pod or task had claimed it",
	metadata.SharedInterface:   "the interface carries several workloads, and no claim of a pod or task covers the time",
	metadata.Released:          "the last known owner had given it back",
	metadata.BeforeFirstOwner:  "the time lies before the first known owner",
	metadata.BeforeRetention:   "the time lies before the history that is kept",
	metadata.NeverSeen:         "nothing was ever told of this address",
	metadata.ScopeUnknown:      "nothing is known of this scope",
	metadata.CIDR:              "only a network around it was declared",
	metadata.PublicAddress:     "it is public, and nobody of ours owned it",
}
