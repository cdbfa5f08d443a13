package awsfake

import (
	"net/url"
	"slices"
)

// items is a list of an answer.
type items[T any] struct {
	Items []T `xml:"item"`
}

func describeNetworkInterfaces(w *EC2World, form url.Values) (any, error) {
	r, err := newEC2Request(form, "network-interface-id", "attachment.instance-id", "vpc-id", "subnet-id", "status")
	if err != nil {
		return nil, err
	}
	ids := numbered(form, "NetworkInterfaceId")
	if len(ids) > 0 && form.Get("MaxResults") != "" {
		return nil, failure("InvalidParameterCombination", "The parameter NetworkInterfaceIds cannot be used with the parameter MaxResults")
	}
	found, err := byIDs(w.NetworkInterfaces, ids, func(n *NetworkInterface) string { return n.ID }, "InvalidNetworkInterfaceID.NotFound", "networkInterface ID")
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(slices.Clone(found), func(n NetworkInterface) bool {
		instance := ""
		if n.Attachment != nil {
			instance = n.Attachment.InstanceID
		}
		return !r.passes("network-interface-id", n.ID) || !r.passes("attachment.instance-id", instance) || !r.passes("vpc-id", n.VPC) ||
			!r.passes("subnet-id", n.Subnet) || !r.passes("status", n.Status)
	})
	part, next, err := paged(r, found, 5)
	return struct {
		Set  items[NetworkInterface] `xml:"networkInterfaceSet"`
		Next string                  `xml:"nextToken,omitempty"`
	}{items[NetworkInterface]{Items: part}, next}, err
}

func describeInstances(w *EC2World, form url.Values) (any, error) {
	r, err := newEC2Request(form, "instance-id", "instance-state-name", "vpc-id")
	if err != nil {
		return nil, err
	}
	found, err := byIDs(w.Instances, numbered(form, "InstanceId"), func(i *Instance) string { return i.ID }, "InvalidInstanceID.NotFound", "instance ID")
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(slices.Clone(found), func(i Instance) bool {
		return !r.passes("instance-id", i.ID) || !r.passes("instance-state-name", i.State) || !r.passes("vpc-id", i.VPC)
	})
	part, next, err := paged(r, found, 5)
	type reservation struct {
		ID        string          `xml:"reservationId"`
		Instances items[Instance] `xml:"instancesSet"`
	}
	var set items[reservation]
	for _, i := range part {
		set.Items = append(set.Items, reservation{"r-" + i.ID[2:], items[Instance]{Items: []Instance{i}}})
	}
	return struct {
		Set  items[reservation] `xml:"reservationSet"`
		Next string             `xml:"nextToken,omitempty"`
	}{set, next}, err
}

func describeSubnets(w *EC2World, form url.Values) (any, error) {
	r, err := newEC2Request(form, "subnet-id", "vpc-id")
	if err != nil {
		return nil, err
	}
	found := slices.DeleteFunc(slices.Clone(w.Subnets), func(s Subnet) bool { return !r.passes("subnet-id", s.ID) || !r.passes("vpc-id", s.VPC) })
	part, next, err := paged(r, found, 5)
	return struct {
		Set  items[Subnet] `xml:"subnetSet"`
		Next string        `xml:"nextToken,omitempty"`
	}{items[Subnet]{Items: part}, next}, err
}

func describeVPCs(w *EC2World, form url.Values) (any, error) {
	r, err := newEC2Request(form, "vpc-id")
	if err != nil {
		return nil, err
	}
	part, next, err := paged(r, slices.DeleteFunc(slices.Clone(w.VPCs), func(v VPC) bool { return !r.passes("vpc-id", v.ID) }), 5)
	return struct {
		Set  items[VPC] `xml:"vpcSet"`
		Next string     `xml:"nextToken,omitempty"`
	}{items[VPC]{Items: part}, next}, err
}

func describeFlowLogs(w *EC2World, form url.Values) (any, error) {
	r, err := newEC2Request(form, "resource-id")
	if err != nil {
		return nil, err
	}
	part, next, err := paged(r, slices.DeleteFunc(slices.Clone(w.FlowLogs), func(f FlowLog) bool { return !r.passes("resource-id", f.ResourceID) }), 1)
	return struct {
		Set  items[FlowLog] `xml:"flowLogSet"`
		Next string         `xml:"nextToken,omitempty"`
	}{items[FlowLog]{Items: part}, next}, err
}

func describePeerings(w *EC2World, form url.Values) (any, error) {
	r, err := newEC2Request(form, "status-code")
	if err != nil {
		return nil, err
	}
	part, next, err := paged(r, slices.DeleteFunc(slices.Clone(w.Peerings), func(p Peering) bool { return !r.passes("status-code", p.Status) }), 5)
	return struct {
		Set  items[Peering] `xml:"vpcPeeringConnectionSet"`
		Next string         `xml:"nextToken,omitempty"`
	}{items[Peering]{Items: part}, next}, err
}

func describeTransitGatewayAttachments(w *EC2World, form url.Values) (any, error) {
	r, err := newEC2Request(form, "resource-type", "state")
	if err != nil {
		return nil, err
	}
	part, next, err := paged(r, slices.DeleteFunc(slices.Clone(w.TransitGatewayAttachments), func(a TransitGatewayAttachment) bool {
		return !r.passes("resource-type", a.ResourceType) || !r.passes("state", a.State)
	}), 5)
	return struct {
		Set  items[TransitGatewayAttachment] `xml:"transitGatewayAttachments"`
		Next string                          `xml:"nextToken,omitempty"`
	}{items[TransitGatewayAttachment]{Items: part}, next}, err
}

func describeTransitGatewayRouteTables(w *EC2World, form url.Values) (any, error) {
	r, err := newEC2Request(form, "state")
	if err != nil {
		return nil, err
	}
	part, next, err := paged(r, w.TransitGatewayRouteTables, 5)
	return struct {
		Set  items[TransitGatewayRouteTable] `xml:"transitGatewayRouteTables"`
		Next string                          `xml:"nextToken,omitempty"`
	}{items[TransitGatewayRouteTable]{Items: part}, next}, err
}

// searchTransitGatewayRoutes has no pages: it says that there are more and leaves it to the caller to ask more narrowly.
func searchTransitGatewayRoutes(w *EC2World, form url.Values) (any, error) {
	r, err := newEC2Request(form, "state", "type", "attachment.resource-type")
	if err != nil {
		return nil, err
	}
	if len(r.filter) == 0 {
		return nil, failure("MissingParameter", "The request must contain the parameter Filters")
	}
	id := form.Get("TransitGatewayRouteTableId")
	i := slices.IndexFunc(w.TransitGatewayRouteTables, func(t TransitGatewayRouteTable) bool { return t.ID == id })
	if i < 0 {
		return nil, failure("InvalidRouteTableID.NotFound", "Transit Gateway Route Table %s was deleted or does not exist.", id)
	}
	found := slices.DeleteFunc(slices.Clone(w.TransitGatewayRouteTables[i].Routes), func(t TransitGatewayRoute) bool {
		return !r.passes("state", t.State) || !r.passes("type", t.Type)
	})
	part, _, err := paged(r, found, 5)
	return struct {
		Set  items[TransitGatewayRoute] `xml:"routeSet"`
		More bool                       `xml:"additionalRoutesAvailable"`
	}{items[TransitGatewayRoute]{Items: part}, len(part) < len(found)}, err
}

func describePrefixLists(w *EC2World, form url.Values) (any, error) {
	r, err := newEC2Request(form, "owner-id", "prefix-list-id")
	if err != nil {
		return nil, err
	}
	part, next, err := paged(r, slices.DeleteFunc(slices.Clone(w.PrefixLists), func(p PrefixList) bool {
		return !r.passes("owner-id", p.OwnerID) || !r.passes("prefix-list-id", p.ID)
	}), 1)
	return struct {
		Set  items[PrefixList] `xml:"prefixListSet"`
		Next string            `xml:"nextToken,omitempty"`
	}{items[PrefixList]{Items: part}, next}, err
}

func prefixListEntries(w *EC2World, form url.Values) (any, error) {
	r, err := newEC2Request(form)
	if err != nil {
		return nil, err
	}
	lists, err := byIDs(w.PrefixLists, []string{form.Get("PrefixListId")}, func(p *PrefixList) string { return p.ID }, "InvalidPrefixListID.NotFound", "prefix list ID")
	if err != nil {
		return nil, err
	}
	part, next, err := paged(r, lists[0].Entries, 1)
	return struct {
		Set  items[PrefixListEntry] `xml:"entrySet"`
		Next string                 `xml:"nextToken,omitempty"`
	}{items[PrefixListEntry]{Items: part}, next}, err
}
