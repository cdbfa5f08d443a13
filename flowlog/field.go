package flowlog

import (
	"slices"
	"strings"
)

// Field is one field of the catalogue; FieldOther stands for a name that the catalogue does not have.
type Field uint8

// The fields, in the order of AWS's documentation: VPC flow logs by version, then transit gateway flow logs.
const (
	FieldOther Field = iota
	FieldVersion
	FieldAccountID
	FieldInterfaceID
	FieldSrcAddr
	FieldDstAddr
	FieldSrcPort
	FieldDstPort
	FieldProtocol
	FieldPackets
	FieldBytes
	FieldStart
	FieldEnd
	FieldAction
	FieldLogStatus
	FieldVPCID
	FieldSubnetID
	FieldInstanceID
	FieldTCPFlags
	FieldType
	FieldPktSrcAddr
	FieldPktDstAddr
	FieldRegion
	FieldAZID
	FieldSublocationType
	FieldSublocationID
	FieldPktSrcAWSService
	FieldPktDstAWSService
	FieldFlowDirection
	FieldTrafficPath
	FieldECSClusterARN
	FieldECSClusterName
	FieldECSContainerInstanceARN
	FieldECSContainerInstanceID
	FieldECSContainerID
	FieldECSSecondContainerID
	FieldECSServiceName
	FieldECSTaskDefinitionARN
	FieldECSTaskARN
	FieldECSTaskID
	FieldRejectReason
	FieldResourceID
	FieldEncryptionStatus
	FieldInstanceTag
	FieldInstanceTag2
	FieldInterfaceTag
	FieldInterfaceTag2
	FieldASGTag
	FieldASGTag2
	FieldInterfaceType
	FieldNextHopInterfaceID
	FieldNextHopSubnetID
	FieldNextHopAZID
	FieldNextHopVPCID
	FieldNextHopInterfaceType
	FieldResourceType
	FieldTransitGatewayID
	FieldTransitGatewayAttachmentID
	FieldTransitGatewaySrcVPCAccountID
	FieldTransitGatewayDstVPCAccountID
	FieldTransitGatewaySrcVPCID
	FieldTransitGatewayDstVPCID
	FieldTransitGatewaySrcSubnetID
	FieldTransitGatewayDstSubnetID
	FieldTransitGatewaySrcENI
	FieldTransitGatewayDstENI
	FieldTransitGatewaySrcAZID
	FieldTransitGatewayDstAZID
	FieldTransitGatewayPairAttachmentID
	FieldPacketsLostNoRoute
	FieldPacketsLostBlackhole
	FieldPacketsLostMTUExceeded
	FieldPacketsLostTTLExpired
	fieldCount
)

// Type is the type that AWS documents for a field (in Parquet files; in text everything is text).
type Type uint8

// The types.
const (
	String Type = iota
	Int32
	Int64
)

// String returns string, int32 or int64.
func (t Type) String() string {
	switch t {
	case Int32:
		return "int32"
	case Int64:
		return "int64"
	default:
		return "string"
	}
}

// Info describes one field of the catalogue.
type Info struct {
	Field Field
	// Name is AWS's name, with hyphens.
	Name string
	// Version is the version of flow logs that brought the field; 6 is transit gateway flow logs.
	Version int
	Type    Type
	// Doc is one phrase on its meaning.
	Doc string

	kind kind
}

// kind is how a field is checked and parsed.
type kind uint8

const (
	kindText kind = iota
	kindID
	kindInt
	kindTime
	kindAddr
	kindAction
	kindStatus
	kindDirection
)

// catalogue describes every known field, at the index of its Field.
//
//nolint:gochecknoglobals // read-only table
var catalogue = [fieldCount]Info{
	FieldVersion:                        {FieldVersion, "version", 2, Int32, "highest version among the fields chosen for the flow log; says nothing about the layout", kindInt},
	FieldAccountID:                      {FieldAccountID, "account-id", 2, String, "owner of the recording interface, twelve digits; `unknown` for interfaces that a service owns", kindID},
	FieldInterfaceID:                    {FieldInterfaceID, "interface-id", 2, String, "interface that recorded the flow; absent for a regional NAT gateway", kindID},
	FieldSrcAddr:                        {FieldSrcAddr, "srcaddr", 2, String, "sender for inbound flows; for outbound ones the interface's primary private address", kindAddr},
	FieldDstAddr:                        {FieldDstAddr, "dstaddr", 2, String, "receiver for outbound flows; for inbound ones the interface's primary private address", kindAddr},
	FieldSrcPort:                        {FieldSrcPort, "srcport", 2, Int32, "source port; 0 for protocols without ports", kindInt},
	FieldDstPort:                        {FieldDstPort, "dstport", 2, Int32, "destination port; 0 for protocols without ports", kindInt},
	FieldProtocol:                       {FieldProtocol, "protocol", 2, Int32, "IANA protocol number", kindInt},
	FieldPackets:                        {FieldPackets, "packets", 2, Int64, "packets of the flow in the aggregation interval", kindInt},
	FieldBytes:                          {FieldBytes, "bytes", 2, Int64, "bytes of the flow in the aggregation interval", kindInt},
	FieldStart:                          {FieldStart, "start", 2, Int64, "when the first packet of the interval was received, Unix seconds; up to 60 s after it was sent", kindTime},
	FieldEnd:                            {FieldEnd, "end", 2, Int64, "when the last packet of the interval was received, Unix seconds", kindTime},
	FieldAction:                         {FieldAction, "action", 2, String, "ACCEPT or REJECT", kindAction},
	FieldLogStatus:                      {FieldLogStatus, "log-status", 2, String, "OK, NODATA (no traffic) or SKIPDATA (records were lost)", kindStatus},
	FieldVPCID:                          {FieldVPCID, "vpc-id", 3, String, "VPC of the recording interface", kindID},
	FieldSubnetID:                       {FieldSubnetID, "subnet-id", 3, String, "subnet of the recording interface", kindID},
	FieldInstanceID:                     {FieldInstanceID, "instance-id", 3, String, "instance of the recording interface, if you own it", kindID},
	FieldTCPFlags:                       {FieldTCPFlags, "tcp-flags", 3, Int32, "bitwise OR of the TCP flags seen: FIN 1, SYN 2, RST 4, SYN-ACK 18", kindInt},
	FieldType:                           {FieldType, "type", 3, String, "IPv4, IPv6 or EFA", kindText},
	FieldPktSrcAddr:                     {FieldPktSrcAddr, "pkt-srcaddr", 3, String, "source address in the packet itself", kindAddr},
	FieldPktDstAddr:                     {FieldPktDstAddr, "pkt-dstaddr", 3, String, "destination address in the packet itself", kindAddr},
	FieldRegion:                         {FieldRegion, "region", 4, String, "region of the recording interface", kindID},
	FieldAZID:                           {FieldAZID, "az-id", 4, String, "availability zone id (use1-az4), not name", kindID},
	FieldSublocationType:                {FieldSublocationType, "sublocation-type", 4, String, "wavelength, outpost or localzone", kindText},
	FieldSublocationID:                  {FieldSublocationID, "sublocation-id", 4, String, "id of the sublocation", kindText},
	FieldPktSrcAWSService:               {FieldPktSrcAWSService, "pkt-src-aws-service", 5, String, "AWS service whose public range holds pkt-srcaddr", kindText},
	FieldPktDstAWSService:               {FieldPktDstAWSService, "pkt-dst-aws-service", 5, String, "AWS service whose public range holds pkt-dstaddr", kindText},
	FieldFlowDirection:                  {FieldFlowDirection, "flow-direction", 5, String, "ingress or egress, relative to the recording interface", kindDirection},
	FieldTrafficPath:                    {FieldTrafficPath, "traffic-path", 5, Int32, "way that egress traffic takes, a code from 1 to 8", kindInt},
	FieldECSClusterARN:                  {FieldECSClusterARN, "ecs-cluster-arn", 7, String, "ARN of the ECS cluster", kindText},
	FieldECSClusterName:                 {FieldECSClusterName, "ecs-cluster-name", 7, String, "name of the ECS cluster", kindText},
	FieldECSContainerInstanceARN:        {FieldECSContainerInstanceARN, "ecs-container-instance-arn", 7, String, "ARN of the ECS container instance; absent on Fargate", kindText},
	FieldECSContainerInstanceID:         {FieldECSContainerInstanceID, "ecs-container-instance-id", 7, String, "id of the ECS container instance; absent on Fargate", kindText},
	FieldECSContainerID:                 {FieldECSContainerID, "ecs-container-id", 7, String, "runtime id of the first container of the task", kindText},
	FieldECSSecondContainerID:           {FieldECSSecondContainerID, "ecs-second-container-id", 7, String, "runtime id of the second container of the task", kindText},
	FieldECSServiceName:                 {FieldECSServiceName, "ecs-service-name", 7, String, "name of the ECS service", kindText},
	FieldECSTaskDefinitionARN:           {FieldECSTaskDefinitionARN, "ecs-task-definition-arn", 7, String, "ARN of the ECS task definition", kindText},
	FieldECSTaskARN:                     {FieldECSTaskARN, "ecs-task-arn", 7, String, "ARN of the ECS task", kindText},
	FieldECSTaskID:                      {FieldECSTaskID, "ecs-task-id", 7, String, "id of the ECS task", kindText},
	FieldRejectReason:                   {FieldRejectReason, "reject-reason", 8, String, "why traffic was rejected: BPA, EC and others", kindText},
	FieldResourceID:                     {FieldResourceID, "resource-id", 9, String, "regional NAT gateway that recorded the flow", kindText},
	FieldEncryptionStatus:               {FieldEncryptionStatus, "encryption-status", 10, Int32, "0 clear, 1 encrypted by Nitro, 2 by the application, 3 by both", kindInt},
	FieldInstanceTag:                    {FieldInstanceTag, "instance-tag", 11, String, "value of the first chosen instance tag, percent-encoded", kindText},
	FieldInstanceTag2:                   {FieldInstanceTag2, "instance-tag-2", 11, String, "value of the second chosen instance tag, percent-encoded", kindText},
	FieldInterfaceTag:                   {FieldInterfaceTag, "interface-tag", 11, String, "value of the first chosen interface tag, percent-encoded", kindText},
	FieldInterfaceTag2:                  {FieldInterfaceTag2, "interface-tag-2", 11, String, "value of the second chosen interface tag, percent-encoded", kindText},
	FieldASGTag:                         {FieldASGTag, "asg-tag", 11, String, "value of the first chosen Auto Scaling group tag, percent-encoded", kindText},
	FieldASGTag2:                        {FieldASGTag2, "asg-tag-2", 11, String, "value of the second chosen Auto Scaling group tag, percent-encoded", kindText},
	FieldInterfaceType:                  {FieldInterfaceType, "interface-type", 11, String, "type of the recording interface: nat_gateway, vpc_endpoint and others", kindText},
	FieldNextHopInterfaceID:             {FieldNextHopInterfaceID, "next-hop-interface-id", 11, String, "other interface of the hop: the receiver for egress, the sender for ingress", kindText},
	FieldNextHopSubnetID:                {FieldNextHopSubnetID, "next-hop-subnet-id", 11, String, "subnet of the other interface of the hop", kindText},
	FieldNextHopAZID:                    {FieldNextHopAZID, "next-hop-az-id", 11, String, "availability zone id of the other interface of the hop", kindText},
	FieldNextHopVPCID:                   {FieldNextHopVPCID, "next-hop-vpc-id", 11, String, "VPC of the other interface of the hop", kindText},
	FieldNextHopInterfaceType:           {FieldNextHopInterfaceType, "next-hop-interface-type", 11, String, "type of the other interface of the hop", kindText},
	FieldResourceType:                   {FieldResourceType, "resource-type", 6, String, "TransitGateway or TransitGatewayAttachment", kindText},
	FieldTransitGatewayID:               {FieldTransitGatewayID, "tgw-id", 6, String, "transit gateway that recorded the flow", kindText},
	FieldTransitGatewayAttachmentID:     {FieldTransitGatewayAttachmentID, "tgw-attachment-id", 6, String, "attachment of the transit gateway that recorded the flow", kindText},
	FieldTransitGatewaySrcVPCAccountID:  {FieldTransitGatewaySrcVPCAccountID, "tgw-src-vpc-account-id", 6, String, "account of the source VPC", kindText},
	FieldTransitGatewayDstVPCAccountID:  {FieldTransitGatewayDstVPCAccountID, "tgw-dst-vpc-account-id", 6, String, "account of the destination VPC", kindText},
	FieldTransitGatewaySrcVPCID:         {FieldTransitGatewaySrcVPCID, "tgw-src-vpc-id", 6, String, "source VPC", kindText},
	FieldTransitGatewayDstVPCID:         {FieldTransitGatewayDstVPCID, "tgw-dst-vpc-id", 6, String, "destination VPC", kindText},
	FieldTransitGatewaySrcSubnetID:      {FieldTransitGatewaySrcSubnetID, "tgw-src-subnet-id", 6, String, "subnet of the source attachment", kindText},
	FieldTransitGatewayDstSubnetID:      {FieldTransitGatewayDstSubnetID, "tgw-dst-subnet-id", 6, String, "subnet of the destination attachment", kindText},
	FieldTransitGatewaySrcENI:           {FieldTransitGatewaySrcENI, "tgw-src-eni", 6, String, "attachment interface on the source side", kindText},
	FieldTransitGatewayDstENI:           {FieldTransitGatewayDstENI, "tgw-dst-eni", 6, String, "attachment interface on the destination side", kindText},
	FieldTransitGatewaySrcAZID:          {FieldTransitGatewaySrcAZID, "tgw-src-az-id", 6, String, "availability zone id of the source attachment", kindText},
	FieldTransitGatewayDstAZID:          {FieldTransitGatewayDstAZID, "tgw-dst-az-id", 6, String, "availability zone id of the destination attachment", kindText},
	FieldTransitGatewayPairAttachmentID: {FieldTransitGatewayPairAttachmentID, "tgw-pair-attachment-id", 6, String, "attachment on the other side of the transit gateway", kindText},
	FieldPacketsLostNoRoute:             {FieldPacketsLostNoRoute, "packets-lost-no-route", 6, Int64, "packets lost because no route was there", kindInt},
	FieldPacketsLostBlackhole:           {FieldPacketsLostBlackhole, "packets-lost-blackhole", 6, Int64, "packets lost to a black-hole route", kindInt},
	FieldPacketsLostMTUExceeded:         {FieldPacketsLostMTUExceeded, "packets-lost-mtu-exceeded", 6, Int64, "packets lost because they were larger than the MTU", kindInt},
	FieldPacketsLostTTLExpired:          {FieldPacketsLostTTLExpired, "packets-lost-ttl-expired", 6, Int64, "packets lost because their time to live had run out", kindInt},
}

// byName finds fields by their hyphenated names.
//
//nolint:gochecknoglobals // read-only table
var byName = func() map[string]Field {
	m := make(map[string]Field, fieldCount)
	for f := Field(1); f < fieldCount; f++ {
		m[catalogue[f].Name] = f
	}
	return m
}()

// maxName is the length of the longest name in the catalogue.
//
//nolint:gochecknoglobals // read-only
var maxName = func() (n int) {
	for _, info := range catalogue {
		n = max(n, len(info.Name))
	}
	return n
}()

// Fields returns a copy of the catalogue in the order of AWS's documentation.
func Fields() []Info { return slices.Clone(catalogue[1:]) }

// Info describes f; for FieldOther it is a text field without a name.
func (f Field) Info() Info {
	if f >= fieldCount {
		return Info{}
	}
	return catalogue[f]
}

// String returns AWS's name of f with hyphens, "other" for FieldOther.
func (f Field) String() string {
	if f == FieldOther || f >= fieldCount {
		return "other"
	}
	return catalogue[f].Name
}

// LookupField finds a field by AWS's name, with hyphens (text headers) or underscores (Parquet, Athena).
func LookupField(name string) (Field, bool) {
	if strings.IndexByte(name, '_') >= 0 {
		name = strings.ReplaceAll(name, "_", "-")
	}
	f, ok := byName[name]
	return f, ok
}

// lookupBytes is LookupField without allocation.
func lookupBytes(name []byte) (Field, bool) {
	if len(name) > maxName {
		return FieldOther, false
	}
	var buf [64]byte
	n := copy(buf[:], name)
	for i := range n {
		if buf[i] == '_' {
			buf[i] = '-'
		}
	}
	f, ok := byName[string(buf[:n])]
	return f, ok
}

// limit is the largest value that an integer field may have.
func (f Field) limit() uint64 {
	switch f {
	case FieldSrcPort, FieldDstPort:
		return 1<<16 - 1
	case FieldProtocol, FieldTCPFlags, FieldTrafficPath:
		return 1<<8 - 1
	}
	return f.widest()
}

// widest is the largest value that the type of an integer field holds.
func (f Field) widest() uint64 {
	if catalogue[f].Type == Int32 {
		return 1<<31 - 1
	}
	return 1<<63 - 1
}

// FieldSet is a set of fields of the catalogue.
type FieldSet [2]uint64

// Has says whether f is in the set; FieldOther never is.
func (s FieldSet) Has(f Field) bool { return s[f>>6&1]&(1<<(f&63)) != 0 && f < fieldCount }

func (s *FieldSet) add(f Field) { s[f>>6&1] |= 1 << (f & 63) }
