package flowlog

// MissingField is a field that a layout does not have and that would make attribution better.
type MissingField struct {
	Field Field
	// Cost says what is lost without it.
	Cost string
}

// wanted are the fields that the join and the counting use, in the order of how much they matter.
//
//nolint:gochecknoglobals // read-only table
var wanted = []MissingField{
	{FieldInterfaceID, "the local end can't be tied to an interface, so its VPC and direction stay unknown unless the record says them"},
	{FieldSrcAddr, "the source is unknown"},
	{FieldDstAddr, "the destination is unknown"},
	{FieldStart, "a row has no time: it can be neither joined nor stored"},
	{FieldEnd, "the time in which an owner must be unique can't be told"},
	{FieldPackets, "packets can't be counted"},
	{FieldBytes, "bytes can't be counted"},
	{FieldAction, "accepted and rejected traffic can't be told apart"},
	{FieldLogStatus, "intervals without data and lost records can't be told from flows"},
	{FieldProtocol, "services can't be named and client and server can't be told apart"},
	{FieldSrcPort, "client and server can't be told apart"},
	{FieldDstPort, "client and server can't be told apart"},
	{FieldAccountID, "the recording account comes from the interface's identity, or is unknown"},
	{FieldVPCID, "the scope of the addresses comes from the interface's identity; until that is known no end can be named"},
	{FieldFlowDirection, "the direction comes from the interface's identity; until that is known a flow's observer is unknown"},
	{FieldPktSrcAddr, "behind NAT gateways, transit gateways and on EKS nodes the true source is hidden by the interface's address"},
	{FieldPktDstAddr, "behind NAT gateways, transit gateways and on EKS nodes the true destination is hidden by the interface's address"},
	{FieldTCPFlags, "who opened a connection is inferred from listeners and ports"},
	{FieldTrafficPath, "peered VPCs and the way to the internet are inferred from addresses and topology"},
	{FieldAZID, "the zone of the local end comes from the interface's identity"},
	{FieldSubnetID, "the subnet of the local end comes from the interface's identity"},
	{FieldInstanceID, "the instance of the local end comes from the interface's identity"},
	{FieldRegion, "the region of the local end comes from the interface's identity"},
	{FieldRejectReason, "why traffic was rejected is unknown"},
	{FieldResourceID, "flows of regional NAT gateways, which have no interface id, can't be tied to their gateway"},
	{FieldInterfaceType, "forwarders such as NAT gateways are known from the interface's identity only"},
	{FieldNextHopInterfaceID, "the remote interface is found by its address, which fails when addresses repeat across VPCs"},
	{FieldNextHopVPCID, "the scope of the remote address comes from topology"},
	{FieldNextHopAZID, "cross-zone traffic is told by the remote end's identity"},
}

//nolint:gochecknoglobals // read-only table
var wantedTransitGateway = []MissingField{
	{FieldSrcAddr, "the source is unknown"},
	{FieldDstAddr, "the destination is unknown"},
	{FieldTransitGatewaySrcVPCID, "the scope of the source address is unknown"},
	{FieldTransitGatewayDstVPCID, "the scope of the destination address is unknown"},
	{FieldTransitGatewaySrcENI, "the attachment on the source side is unknown"},
	{FieldTransitGatewayDstENI, "the attachment on the destination side is unknown"},
	{FieldStart, "a row has no time: it can be neither joined nor stored"},
	{FieldEnd, "the time in which an owner must be unique can't be told"},
	{FieldPackets, "packets can't be counted"},
	{FieldBytes, "bytes can't be counted"},
	{FieldLogStatus, "intervals without data and lost records can't be told from flows"},
	{FieldProtocol, "services can't be named and client and server can't be told apart"},
	{FieldSrcPort, "client and server can't be told apart"},
	{FieldDstPort, "client and server can't be told apart"},
	{FieldTCPFlags, "who opened a connection is inferred from listeners and ports"},
	{FieldFlowDirection, "both directions through an attachment look alike"},
}

// Advice lists the fields that layout f lacks and dredge would use, the most important first, and what each lack costs. A
// layout with a transit gateway's fields is judged as one of a transit gateway.
func Advice(f *Format) []MissingField {
	list := wanted
	for _, field := range f.Fields() {
		if field.Info().Version == 6 {
			list = wantedTransitGateway
			break
		}
	}
	var missing []MissingField
	for _, m := range list {
		if !f.Has(m.Field) {
			missing = append(missing, m)
		}
	}
	return missing
}

// Recommended is the log format to create VPC flow logs with: the default fields, then everything that Advice asks for.
// AWS never changes a flow log's format; a new flow log has to be made.
func Recommended() string {
	fields := []Field{FieldVersion}
	fields = append(fields, DefaultFormat().Fields()[1:]...)
	for _, m := range wanted {
		if !DefaultFormat().Has(m.Field) {
			fields = append(fields, m.Field)
		}
	}
	return mustFormat(fields).String()
}
