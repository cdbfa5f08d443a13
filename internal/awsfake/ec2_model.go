package awsfake

import (
	"slices"
	"time"
)

// EC2World is what an account has in a region. The element types carry EC2's own names in their tags.
type EC2World struct {
	VPCs                      []VPC
	Subnets                   []Subnet
	Instances                 []Instance
	NetworkInterfaces         []NetworkInterface
	FlowLogs                  []FlowLog
	Peerings                  []Peering
	TransitGatewayAttachments []TransitGatewayAttachment
	TransitGatewayRouteTables []TransitGatewayRouteTable
	PrefixLists               []PrefixList
}

func (w *EC2World) clone() EC2World {
	return EC2World{
		VPCs: slices.Clone(w.VPCs), Subnets: slices.Clone(w.Subnets), Instances: slices.Clone(w.Instances),
		NetworkInterfaces: slices.Clone(w.NetworkInterfaces), FlowLogs: slices.Clone(w.FlowLogs), Peerings: slices.Clone(w.Peerings),
		TransitGatewayAttachments: slices.Clone(w.TransitGatewayAttachments),
		TransitGatewayRouteTables: slices.Clone(w.TransitGatewayRouteTables), PrefixLists: slices.Clone(w.PrefixLists),
	}
}

// Interface returns the interface with that id, nil when there is none. It points into w.
func (w *EC2World) Interface(id string) *NetworkInterface {
	i := slices.IndexFunc(w.NetworkInterfaces, func(n NetworkInterface) bool { return n.ID == id })
	if i < 0 {
		return nil
	}
	return &w.NetworkInterfaces[i]
}

// RemoveInterface takes an interface out.
func (w *EC2World) RemoveInterface(id string) {
	w.NetworkInterfaces = slices.DeleteFunc(w.NetworkInterfaces, func(n NetworkInterface) bool { return n.ID == id })
}

// Tag is a key and its value.
type Tag struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

// VPC is a virtual network.
type VPC struct {
	ID      string      `xml:"vpcId"`
	OwnerID string      `xml:"ownerId,omitempty"`
	State   string      `xml:"state,omitempty"`
	CIDR    string      `xml:"cidrBlock"`
	CIDRs   []CIDRBlock `xml:"cidrBlockAssociationSet>item"`
	IPv6    []CIDRBlock `xml:"ipv6CidrBlockAssociationSet>item"`
	Tags    []Tag       `xml:"tagSet>item"`
}

// CIDRBlock is one network of a VPC or subnet; the field that fits its kind is set.
type CIDRBlock struct {
	CIDR     string `xml:"cidrBlock,omitempty"`
	IPv6CIDR string `xml:"ipv6CidrBlock,omitempty"`
	State    string `xml:"cidrBlockState>state,omitempty"`
	IPv6     string `xml:"ipv6CidrBlockState>state,omitempty"`
}

// Subnet is a part of a VPC in one zone.
type Subnet struct {
	ID      string      `xml:"subnetId"`
	VPC     string      `xml:"vpcId"`
	OwnerID string      `xml:"ownerId,omitempty"`
	CIDR    string      `xml:"cidrBlock"`
	AZ      string      `xml:"availabilityZone"`
	AZID    string      `xml:"availabilityZoneId"`
	IPv6    []CIDRBlock `xml:"ipv6CidrBlockAssociationSet>item"`
	Tags    []Tag       `xml:"tagSet>item"`
}

// Instance is a virtual machine.
type Instance struct {
	ID         string    `xml:"instanceId"`
	State      string    `xml:"instanceState>name"`
	VPC        string    `xml:"vpcId,omitempty"`
	Subnet     string    `xml:"subnetId,omitempty"`
	PrivateIP  string    `xml:"privateIpAddress,omitempty"`
	LaunchTime time.Time `xml:"launchTime"`
	// Interfaces are the ids of the interfaces, as DescribeInstances nests them.
	Interfaces []InstanceInterface `xml:"networkInterfaceSet>item"`
	Tags       []Tag               `xml:"tagSet>item"`
}

// InstanceInterface is an interface as an instance shows it.
type InstanceInterface struct {
	ID          string `xml:"networkInterfaceId"`
	PrivateIP   string `xml:"privateIpAddress,omitempty"`
	DeviceIndex int    `xml:"attachment>deviceIndex"`
}

// NetworkInterface is an elastic network interface.
type NetworkInterface struct {
	ID               string       `xml:"networkInterfaceId"`
	Subnet           string       `xml:"subnetId"`
	VPC              string       `xml:"vpcId"`
	AZ               string       `xml:"availabilityZone,omitempty"`
	Description      string       `xml:"description"`
	OwnerID          string       `xml:"ownerId"`
	RequesterID      string       `xml:"requesterId,omitempty"`
	RequesterManaged bool         `xml:"requesterManaged"`
	Status           string       `xml:"status,omitempty"`
	InterfaceType    string       `xml:"interfaceType"`
	PrivateIP        string       `xml:"privateIpAddress,omitempty"`
	SourceDestCheck  bool         `xml:"sourceDestCheck"`
	Attachment       *Attachment  `xml:"attachment,omitempty"`
	PrivateIPs       []PrivateIP  `xml:"privateIpAddressesSet>item"`
	IPv6             []IPv6       `xml:"ipv6AddressesSet>item"`
	IPv4Prefixes     []IPv4Prefix `xml:"ipv4PrefixSet>item"`
	Tags             []Tag        `xml:"tagSet>item"`
}

// Attachment ties an interface to an instance or a service.
type Attachment struct {
	InstanceID      string    `xml:"instanceId,omitempty"`
	InstanceOwnerID string    `xml:"instanceOwnerId,omitempty"`
	DeviceIndex     int       `xml:"deviceIndex"`
	Status          string    `xml:"status,omitempty"`
	AttachTime      time.Time `xml:"attachTime"`
}

// PrivateIP is one private IPv4 address of an interface.
type PrivateIP struct {
	Address  string `xml:"privateIpAddress"`
	Primary  bool   `xml:"primary"`
	PublicIP string `xml:"association>publicIp,omitempty"`
}

// IPv6 is one IPv6 address of an interface.
type IPv6 struct {
	Address string `xml:"ipv6Address"`
}

// IPv4Prefix is a delegated prefix of an interface.
type IPv4Prefix struct {
	Prefix string `xml:"ipv4Prefix"`
}

// FlowLog is a flow log's set-up.
type FlowLog struct {
	ID                    string    `xml:"flowLogId"`
	CreationTime          time.Time `xml:"creationTime"`
	Status                string    `xml:"flowLogStatus"`
	DeliverStatus         string    `xml:"deliverLogsStatus,omitempty"`
	ResourceID            string    `xml:"resourceId"`
	TrafficType           string    `xml:"trafficType"`
	LogDestinationType    string    `xml:"logDestinationType"`
	LogDestination        string    `xml:"logDestination,omitempty"`
	LogGroupName          string    `xml:"logGroupName,omitempty"`
	LogFormat             string    `xml:"logFormat,omitempty"`
	MaxAggregationSeconds int       `xml:"maxAggregationInterval,omitempty"`
}

// Peering is a VPC peering connection.
type Peering struct {
	ID        string     `xml:"vpcPeeringConnectionId"`
	Status    string     `xml:"status>code"`
	Requester PeeringVPC `xml:"requesterVpcInfo"`
	Accepter  PeeringVPC `xml:"accepterVpcInfo"`
}

// PeeringVPC is one end of a peering.
type PeeringVPC struct {
	VPC     string      `xml:"vpcId"`
	OwnerID string      `xml:"ownerId"`
	Region  string      `xml:"region,omitempty"`
	CIDR    string      `xml:"cidrBlock,omitempty"`
	CIDRs   []CIDRBlock `xml:"cidrBlockSet>item"`
	IPv6    []CIDRBlock `xml:"ipv6CidrBlockSet>item"`
}

// TransitGatewayAttachment ties a VPC or something else to a transit gateway.
type TransitGatewayAttachment struct {
	ID             string `xml:"transitGatewayAttachmentId"`
	TransitGateway string `xml:"transitGatewayId"`
	ResourceType   string `xml:"resourceType"`
	ResourceID     string `xml:"resourceId"`
	State          string `xml:"state"`
	RouteTable     string `xml:"association>transitGatewayRouteTableId,omitempty"`
}

// TransitGatewayRouteTable is a route table of a transit gateway with its routes.
type TransitGatewayRouteTable struct {
	ID             string                `xml:"transitGatewayRouteTableId"`
	TransitGateway string                `xml:"transitGatewayId"`
	State          string                `xml:"state"`
	Routes         []TransitGatewayRoute `xml:"-"`
}

// TransitGatewayRoute is one route.
type TransitGatewayRoute struct {
	CIDR        string                   `xml:"destinationCidrBlock"`
	Type        string                   `xml:"type"`
	State       string                   `xml:"state"`
	Attachments []TransitGatewayRouteHop `xml:"transitGatewayAttachments>item"`
}

// TransitGatewayRouteHop is where a route leads.
type TransitGatewayRouteHop struct {
	ID           string `xml:"transitGatewayAttachmentId"`
	ResourceType string `xml:"resourceType"`
	ResourceID   string `xml:"resourceId"`
}

// PrefixList is a managed prefix list with its entries.
type PrefixList struct {
	ID      string            `xml:"prefixListId"`
	Name    string            `xml:"prefixListName"`
	OwnerID string            `xml:"ownerId"`
	State   string            `xml:"state"`
	Version int               `xml:"version"`
	Entries []PrefixListEntry `xml:"-"`
}

// PrefixListEntry is one network of a prefix list.
type PrefixListEntry struct {
	CIDR        string `xml:"cidr"`
	Description string `xml:"description,omitempty"`
}
