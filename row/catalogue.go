package row

import (
	"net/netip"
	"slices"
	"strconv"
)

// Catalogue returns every output column once, in the order in which rows are written. The order is part of the format only in
// that the columns people filter by most come first, as Druid sorts its segments by it.
func Catalogue() []Column {
	columns := []Column{
		{
			Name: "time", Type: Long, Unit: "ms", Role: Timestamp, Set: Core,
			Doc:    "Start of the flow as the record says it (first packet in the aggregation interval); with the setting `time: end` its end.",
			Number: func(_ *Batch, r *Row) (int64, bool) { return r.Start, true },
		},
	}
	columns = append(columns, sideColumns(EndSrc)...)
	columns = append(columns, sideColumns(EndDst)...)
	columns = append(columns, codeColumns()...)
	columns = append(columns, rowColumns()...)
	columns = append(columns, seldomColumns()...)
	for i := range columns {
		columns[i].Grains = Raw
		columns[i].inMinute()
	}
	columns = append(columns, minuteColumns()...)
	for i := range columns {
		if columns[i].Code != nil && columns[i].Type == String {
			columns[i].Values = present(columns[i].Texts)
		}
	}
	return columns
}

// Of returns the columns of the catalogue that rows of grain can have.
func Of(grain Grain) []Column {
	return slices.DeleteFunc(Catalogue(), func(c Column) bool { return c.Grains&grain == 0 })
}

// AppBit is the Bit of src_app and dst_app, whose value stands in the Side.
const AppBit = 0

// sideColumns are the columns that both ends have, as src_… and dst_…: first those that come from the identity, which encoders
// write in one piece, then the rest.
func sideColumns(end End) []Column {
	side, prefix, which := (*Row).src, "src_", "source"
	missingPort := MissingSrcPort
	if end == EndDst {
		side, prefix, which = (*Row).dst, "dst_", "destination"
		missingPort = MissingDstPort
	}
	identity := []Column{
		{Name: "app", Set: Core, Doc: "Application of the {end}, or a reserved token: `unknown`, `ambiguous`, `internet`, `aws:<SERVICE>`. A name that could be taken for a token has `=` put before it.", OfIdentity: func(id *Identity) string { return id.App }},
		{Name: "kind", Set: Endpoint, Doc: "What the {end} is: `instance`, `pod`, `task`, `nat_gateway`, `load_balancer`, …; `aws-service`, `internet`, `network` or `unknown`.", OfIdentity: func(id *Identity) string { return id.Kind }},
		{Name: "cluster", Set: Core, Optional: true, Doc: "Deployment unit of the {end}: auto scaling group, ECS or Kubernetes cluster.", OfIdentity: func(id *Identity) string { return id.Cluster }},
		{Name: "account", Set: Core, Optional: true, Doc: "AWS account of the {end}, twelve digits.", OfIdentity: func(id *Identity) string { return id.Account }},
		{Name: "region", Set: Core, Optional: true, Doc: "AWS region of the {end}; of an AWS service's address the region that the published ranges give it.", OfIdentity: func(id *Identity) string { return id.Region }},
		{Name: "az", Set: Endpoint, Optional: true, Doc: "Availability zone id of the {end} (`use1-az4`), never the zone's name.", OfIdentity: func(id *Identity) string { return id.AZ }},
		{Name: "vpc", Set: Core, Optional: true, Doc: "VPC of the {end}. It may be known where no application is.", OfIdentity: func(id *Identity) string { return id.VPC }},
		{Name: "subnet", Set: Endpoint, Optional: true, Doc: "Subnet of the {end}.", OfIdentity: func(id *Identity) string { return id.Subnet }},
		{Name: "network", Set: Core, Optional: true, Doc: "Name of the declared network that covers the {end}, when only that is known of it.", OfIdentity: func(id *Identity) string { return id.Network }},
		{Name: "site", Set: Core, Optional: true, Doc: "Site of that network.", OfIdentity: func(id *Identity) string { return id.Site }},
		{Name: "team", Set: Evidence, Optional: true, Doc: "Owner of the application at the {end}.", OfIdentity: func(id *Identity) string { return id.Team }},
		{Name: "app_source", Set: Evidence, Optional: true, Doc: "Rule that chose the application of the {end}.", OfIdentity: func(id *Identity) string { return id.AppSource }},
	}
	for i := range identity {
		identity[i].Bit = uint8(i) + AppBit
		identity[i].End = end
	}
	columns := identity
	columns = append(columns, Column{
		Name: "ip", Set: Core, Doc: "Address of the {end} in the packet (`pkt-…addr` where the record has it).",
		Addr: func(r *Row) netip.Addr { return side(r).Addr },
	}, Column{
		Name: "port", Set: Core, Optional: true, Doc: "Port of the {end}; 0 for protocols without ports.",
		Digits: func(r *Row) (uint64, bool) { return uint64(side(r).Port), r.Missing&missingPort == 0 },
	}, Column{
		Name: "instance", Set: Endpoint, Optional: true, Doc: "EC2 instance at the {end}.",
		Text: func(_ *Batch, r *Row) string { return side(r).Instance },
	}, Column{
		Name: "eni", Set: Endpoint, Optional: true, Doc: "Interface at the {end}.",
		Text: func(_ *Batch, r *Row) string { return side(r).ENI },
	}, Column{
		Name: "name", Set: Endpoint, Optional: true, Doc: "Name of the pod, task or load balancer at the {end}.",
		Text: func(_ *Batch, r *Row) string { return side(r).Name },
	}, Column{
		Name: "country", Set: Public, Optional: true, Doc: "Country of the {end}'s public address, by ISO 3166-1.",
		Text: func(b *Batch, r *Row) string { return b.place(side(r)).Country },
	}, Column{
		Name: "asn", Set: Public, Optional: true, Doc: "Number of the autonomous system that the {end}'s public address belongs to.",
		Append: func(dst []byte, b *Batch, r *Row) []byte {
			if n := b.place(side(r)).ASN; n != 0 {
				dst = strconv.AppendUint(dst, uint64(n), 10)
			}
			return dst
		},
	}, Column{
		Name: "as_org", Set: Public, Optional: true, Doc: "Who runs that autonomous system.",
		Text: func(b *Batch, r *Row) string { return b.place(side(r)).ASOrg },
	})
	for i := range columns {
		c := &columns[i]
		c.Name = prefix + c.Name
		c.Doc = replaceEnd(c.Doc, which)
		c.Side = side
	}
	return columns
}

// codeColumns are the columns with closed vocabularies. They stand together, as encoders write a run of them in one piece.
func codeColumns() []Column {
	return []Column{
		{Name: "src_grade", Set: Core, Doc: gradeDoc("source"), Texts: gradeTexts, Code: func(r *Row) uint16 { return gradeCode(r.Src.Grade) }},
		{Name: "dst_grade", Set: Core, Doc: gradeDoc("destination"), Texts: gradeTexts, Code: func(r *Row) uint16 { return gradeCode(r.Dst.Grade) }},
		{Name: "protocol", Set: Core, Optional: true, Doc: "Protocol: `tcp`, `udp`, `icmp`, … or the IANA number.", Texts: protocolTexts(), Code: protocolCode},
		{Name: "action", Set: Core, Optional: true, Doc: "What was done with the traffic.", Texts: actionTexts, Code: func(r *Row) uint16 { return uint16(r.Action) }},
		{Name: "path", Set: Core, Doc: "Class of way that the flow took.", Texts: pathTexts, Code: func(r *Row) uint16 { return uint16(r.Path) }},
		{
			Name: "counted", Type: Boolean, Set: Core, Doc: "Whether this observation is the one of its flow that counts. A sum over counted rows counts no flow twice.", Texts: boolTexts,
			Code: func(r *Row) uint16 {
				if r.Counted {
					return 1
				}
				return 0
			},
		},
		{Name: "observed_at", Set: Core, Doc: "Where the flow was recorded: at one of its ends, or by a forwarder in the `middle`.", Texts: endTexts, Code: func(r *Row) uint16 { return uint16(r.ObservedAt) }},
		{Name: "client", Set: Core, Doc: "Side that opened the connection.", Texts: endTexts[:EndMiddle], Code: func(r *Row) uint16 { return uint16(r.Client) }},
		{Name: "segmentation", Set: Core, Optional: true, Doc: "What the file of declared edges says of the flow: `allowed`; `unexpected` when nothing allows it; `expired` when only an edge does that had ended by then; `unknown` when that cannot be told, because an end is not named. Absent when no edges are declared.", Texts: segmentationTexts, Code: func(r *Row) uint16 { return uint16(r.Segmentation) }},
		{Name: "direction", Set: Evidence, Doc: "Direction, seen from the interface that recorded.", Texts: directionTexts, Code: func(r *Row) uint16 { return uint16(r.Direction) }},
		{Name: "direction_by", Set: Evidence, Doc: "How the direction is known.", Texts: directionByTexts, Code: func(r *Row) uint16 { return uint16(r.DirectionBy) }},
		{Name: "client_by", Set: Evidence, Doc: "How the client side is known.", Texts: clientByTexts, Code: func(r *Row) uint16 { return uint16(r.ClientBy) }},
		{Name: "counted_how", Set: Evidence, Doc: "Rule that decided which observation of the flow counts.", Texts: countedHowTexts, Code: func(r *Row) uint16 { return uint16(r.CountedHow) }},
		{Name: "src_status", Set: Evidence, Doc: statusDoc("source"), Texts: statusTexts[:], Code: func(r *Row) uint16 { return uint16(r.Src.Status()) }},
		{Name: "dst_status", Set: Evidence, Doc: statusDoc("destination"), Texts: statusTexts[:], Code: func(r *Row) uint16 { return uint16(r.Dst.Status()) }},
	}
}

func gradeDoc(which string) string {
	return "Why the " + which + " is named, or not: `confirmed` and `covered` name an application; `prefix` a network; `public` is an address of the internet."
}

func statusDoc(which string) string { return "The " + which + " in one of five words." }

func (r *Row) src() *Side { return &r.Src }
func (r *Row) dst() *Side { return &r.Dst }

// rowColumns are the columns that a row has once.
func rowColumns() []Column {
	return []Column{
		{Name: "eni", Set: Core, Optional: true, Doc: "Interface that recorded the flow.", Text: func(_ *Batch, r *Row) string { return r.InterfaceID }},
		{
			Name: "flows", Type: Long, Unit: "flows", Role: Metric, Set: Core, Doc: "1, as the row is one flow-log record, or the weight of a sampled row.",
			Number: func(_ *Batch, r *Row) (int64, bool) { return r.Flows(), true },
		},
		{
			Name: "bytes", Type: Long, Unit: "bytes", Role: Metric, Set: Core, Optional: true, Doc: "Bytes of this observation.",
			Number: func(_ *Batch, r *Row) (int64, bool) { return r.Bytes, r.Missing&MissingBytes == 0 },
		},
		{
			Name: "packets", Type: Long, Unit: "packets", Role: Metric, Set: Core, Optional: true, Doc: "Packets of this observation.",
			Number: func(_ *Batch, r *Row) (int64, bool) { return r.Packets, r.Missing&MissingPackets == 0 },
		},
		{
			Name: "flow_start", Type: Long, Unit: "ms", Set: Core, Optional: true, Doc: "Start of the flow: its first packet in the aggregation interval.",
			Number: func(_ *Batch, r *Row) (int64, bool) { return r.Start, r.Missing&(MissingTime|MissingStart) == 0 },
		},
		{
			Name: "flow_end", Type: Long, Unit: "ms", Set: Core, Optional: true, Doc: "End of the flow: its last packet in the aggregation interval.",
			Number: func(_ *Batch, r *Row) (int64, bool) { return r.End, r.Missing&(MissingTime|MissingEnd) == 0 },
		},
		{Name: "account", Set: Evidence, Optional: true, Doc: "Account that owns the interface that recorded.", Text: func(_ *Batch, r *Row) string { return r.AccountID }},
		{
			Name: "tcp_flags", Set: Network, Optional: true, Doc: "TCP flags seen in the interval, ORed (1 FIN, 2 SYN, 4 RST, 18 SYN-ACK).",
			Digits: func(r *Row) (uint64, bool) { return uint64(r.TCPFlags), r.HasTCPFlags },
		},
		{
			Name: "traffic_path", Set: Network, Optional: true, Doc: "The record's traffic-path code, 1 to 8.",
			Digits: func(r *Row) (uint64, bool) { return uint64(r.TrafficPath), r.TrafficPath != 0 },
		},
		{Name: "srcaddr", Set: Network, Optional: true, Doc: "The record's srcaddr, where it is not the packet's.", Addr: func(r *Row) netip.Addr { return r.RecordSrc }},
		{Name: "dstaddr", Set: Network, Optional: true, Doc: "The record's dstaddr, where it is not the packet's.", Addr: func(r *Row) netip.Addr { return r.RecordDst }},
		{Name: "row_id", Set: Core, Doc: "The row's name, the same on every delivery of the same line: two rows with one row_id are one row that came twice. It is a hash of partition and position, then the line's index in the payload.", Append: appendRowID},
		{Name: "partition", Set: Lineage, Optional: true, Doc: "Shard (lease key) or file that the line was read from.", Text: func(b *Batch, _ *Row) string { return b.Partition }},
		{Name: "position", Set: Lineage, Optional: true, Doc: "Kinesis sequence number of the line's payload (`sequence:sub-sequence` after KPL aggregation), or its offset in a file.", Text: func(b *Batch, r *Row) string { return b.origin(r).Position }},
		{Name: "log_group", Set: Lineage, Optional: true, Doc: "CloudWatch log group that the line came through.", Text: func(b *Batch, r *Row) string { return b.origin(r).LogGroup }},
		{
			Name: "arrived", Type: Long, Unit: "ms", Set: Lineage, Optional: true, Doc: "When the payload entered the stream.",
			Number: func(b *Batch, r *Row) (int64, bool) {
				arrived := b.origin(r).Arrived
				return arrived.UnixMilli(), !arrived.IsZero()
			},
		},
		{Name: "instance_tag", Set: TagSet, Optional: true, Doc: "The record's instance-tag.", Text: tag(func(t *Tags) string { return t.Instance })},
		{Name: "instance_tag_2", Set: TagSet, Optional: true, Doc: "The record's instance-tag-2.", Text: tag(func(t *Tags) string { return t.Instance2 })},
		{Name: "interface_tag", Set: TagSet, Optional: true, Doc: "The record's interface-tag.", Text: tag(func(t *Tags) string { return t.Interface })},
		{Name: "interface_tag_2", Set: TagSet, Optional: true, Doc: "The record's interface-tag-2.", Text: tag(func(t *Tags) string { return t.Interface2 })},
		{Name: "asg_tag", Set: TagSet, Optional: true, Doc: "The record's asg-tag.", Text: tag(func(t *Tags) string { return t.ASG })},
		{Name: "asg_tag_2", Set: TagSet, Optional: true, Doc: "The record's asg-tag-2.", Text: tag(func(t *Tags) string { return t.ASG2 })},
	}
}

// seldomColumns have no value in most rows; Row.Ordinary tells which, for all of them at once.
func seldomColumns() []Column {
	columns := []Column{
		{Name: "via_kind", Set: Core, Optional: true, Doc: "Kind of the forwarder that recorded the flow; absent when an end did.", Text: func(_ *Batch, r *Row) string { return r.ViaKind }},
		{Name: "via_id", Set: Core, Optional: true, Doc: "Id of that forwarder.", Text: func(_ *Batch, r *Row) string { return r.ViaID }},
		{Name: "reject_reason", Set: Core, Optional: true, Doc: "Why the traffic was rejected, where the record says it.", Text: func(_ *Batch, r *Row) string { return r.RejectReason }},
		{Name: "src_reason", Set: Core, Optional: true, Doc: reasonDoc("source"), Text: func(_ *Batch, r *Row) string { return r.Src.reason() }},
		{Name: "dst_reason", Set: Core, Optional: true, Doc: reasonDoc("destination"), Text: func(_ *Batch, r *Row) string { return r.Dst.reason() }},
		{Name: "rule_tags", Set: Core, Optional: true, Doc: "Tags that `rules` put on the row, in their order, with commas between them.", Text: func(_ *Batch, r *Row) string { return r.RuleTags }},
		{
			Name: "weight", Type: Long, Unit: "flows", Set: Core, Optional: true, Doc: "How many records the row stands for, where a rule keeps one of so many; absent is 1. `bytes`, `packets` and `flows` are multiplied by it already, so that sums stay right.",
			Number: func(_ *Batch, r *Row) (int64, bool) { return r.Flows(), r.Weight > 1 },
		},
		{Name: "src_candidates", Type: StringArray, Set: Core, Optional: true, Doc: candidatesDoc, List: func(r *Row) []string { return r.Src.Candidates }},
		{Name: "dst_candidates", Type: StringArray, Set: Core, Optional: true, Doc: candidatesDoc, List: func(r *Row) []string { return r.Dst.Candidates }},
	}
	for i := range columns {
		columns[i].Seldom = true
	}
	return columns
}

const candidatesDoc = "Who could have been meant, when several could: applications, or owner ids where no application is known."

func reasonDoc(which string) string {
	return "What led to the grade, when the " + which + " is neither named nor public."
}

// reason is what src_reason and dst_reason hold.
func (s *Side) reason() string {
	if s.settled() {
		return ""
	}
	return s.Reason
}

func (s *Side) settled() bool { return s.Named || s.Grade == GradePublic }

// Ordinary says that no Seldom column has a value in r.
func (r *Row) Ordinary() bool {
	return r.Src.settled() && r.Dst.settled() && r.ViaKind == "" && r.ViaID == "" && r.RejectReason == "" &&
		r.Weight <= 1 && r.RuleTags == "" && len(r.Src.Candidates) == 0 && len(r.Dst.Candidates) == 0
}

func tag(of func(*Tags) string) func(*Batch, *Row) string {
	return func(_ *Batch, r *Row) string {
		if r.Tags == nil {
			return ""
		}
		return of(r.Tags)
	}
}

// origin returns where r came from; the zero Origin when the batch does not say.
func (b *Batch) origin(r *Row) *Origin {
	if int(r.Origin) < len(b.Origins) {
		return &b.Origins[r.Origin]
	}
	return &Origin{}
}

// place returns where s is; the zero Place when that is not known.
func (b *Batch) place(s *Side) Place {
	if s.Place == 0 || int(s.Place) > len(b.Places) {
		return Place{}
	}
	return b.Places[s.Place-1]
}

const noProtocol = 256

func protocolCode(r *Row) uint16 {
	if r.Missing&MissingProtocol != 0 {
		return noProtocol
	}
	return uint16(r.Protocol)
}

// protocolTexts are the protocols by number; one more stands for a record that has none.
func protocolTexts() []string {
	names := map[int]string{
		1: "icmp", 2: "igmp", 4: "ipv4", 6: "tcp", 17: "udp", 41: "ipv6", 47: "gre", 50: "esp", 51: "ah", 58: "icmpv6",
		89: "ospf", 112: "vrrp", 132: "sctp",
	}
	texts := make([]string, noProtocol+1)
	for i := range noProtocol {
		texts[i] = strconv.Itoa(i)
		if name, ok := names[i]; ok {
			texts[i] = name
		}
	}
	return texts
}
