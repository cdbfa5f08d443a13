package flowgen

import (
	"fmt"
	"strconv"
	"strings"
)

// Layouts in AWS's documented order of fields.
const (
	// V2 is the default format: the fourteen fields of version 2.
	V2 = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status"
	// V5 is the 29 fields of versions 2 to 5.
	V5 = V2 + " vpc-id subnet-id instance-id tcp-flags type pkt-srcaddr pkt-dstaddr region az-id sublocation-type" +
		" sublocation-id pkt-src-aws-service pkt-dst-aws-service flow-direction traffic-path"
	// V8 is the 40 fields of versions 2 to 8: with the ECS fields and reject-reason.
	V8 = V5 + " ecs-cluster-arn ecs-cluster-name ecs-container-instance-arn ecs-container-instance-id ecs-container-id" +
		" ecs-second-container-id ecs-service-name ecs-task-definition-arn ecs-task-arn ecs-task-id reject-reason"
	// V11 is all 54 fields of versions 2 to 11: with tags, interface types and next hops.
	V11 = V8 + " resource-id encryption-status instance-tag instance-tag-2 interface-tag interface-tag-2 asg-tag asg-tag-2" +
		" interface-type next-hop-interface-id next-hop-subnet-id next-hop-az-id next-hop-vpc-id next-hop-interface-type"
)

// versionOf is the version from which on a field exists: fields stand in V11 in the order of their versions, so the
// number of the last field of each version says it all.
//
//nolint:gochecknoglobals // read-only table
var (
	fieldNames = strings.Fields(V11)
	versionOf  = []struct{ fields, version int }{{14, 2}, {21, 3}, {25, 4}, {29, 5}, {39, 7}, {40, 8}, {41, 9}, {42, 10}, {54, 11}}
)

// The fields, in the order of V11.
const (
	fVersion = iota
	fAccount
	fInterface
	fSrc
	fDst
	fSrcPort
	fDstPort
	fProtocol
	fPackets
	fBytes
	fStart
	fEnd
	fAction
	fStatus
	fVPC
	fSubnet
	fInstance
	fFlags
	fType
	fPktSrc
	fPktDst
	fRegion
	fAZ
	fSublocationType
	fSublocationID
	fPktSrcService
	fPktDstService
	fDirection
	fPath
	fECSClusterARN
	fECSClusterName
	fECSContainerInstanceARN
	fECSContainerInstanceID
	fECSContainerID
	fECSSecondContainerID
	fECSService
	fECSTaskDefinition
	fECSTaskARN
	fECSTaskID
	fRejectReason
	fResource
	fEncryption
	fInstanceTag
	fInstanceTag2
	fInterfaceTag
	fInterfaceTag2
	fASGTag
	fASGTag2
	fInterfaceType
	fNextInterface
	fNextSubnet
	fNextAZ
	fNextVPC
	fNextType
)

// Layout is a parsed format; immutable.
type Layout struct {
	fields  []uint8
	version int
	pkt     bool
	text    string
}

// ParseLayout reads "${a} ${b}" or bare names, hyphens or underscores.
func ParseLayout(format string) (*Layout, error) {
	l := &Layout{version: 2}
	for name := range strings.FieldsSeq(format) {
		name = strings.TrimSuffix(strings.TrimPrefix(name, "${"), "}")
		name = strings.ReplaceAll(name, "_", "-")
		at := -1
		for i, known := range fieldNames {
			if known == name {
				at = i
			}
		}
		if at < 0 {
			return nil, fmt.Errorf("field %q of the format can't be simulated; write VPC flow log fields of versions 2 to 11", name)
		}
		for _, v := range versionOf {
			if at < v.fields {
				l.version = max(l.version, v.version)
				break
			}
		}
		l.pkt = l.pkt || at == fPktSrc || at == fPktDst
		l.fields = append(l.fields, uint8(at))
		l.text += " " + name
	}
	if len(l.fields) == 0 {
		return nil, fmt.Errorf("format %q has no fields; write for example %q", format, V2)
	}
	l.text = l.text[1:]
	return l, nil
}

// String returns the field names with a space between, as a header line of S3 has them.
func (l *Layout) String() string { return l.text }

// line is what one flow-log record says.
type line struct {
	at                       *iface
	next                     *iface
	src, dst, pktSrc, pktDst *address
	packets, bytes           int64
	start, end               int64 // seconds
	srcPort, dstPort         uint16
	proto, flags, path       uint8
	status                   status
	reject, egress           bool
}

type status uint8

const (
	statusOK status = iota
	statusNoData
	statusSkipData
)

//nolint:gochecknoglobals // read-only table
var statusNames = [...]string{"OK", "NODATA", "SKIPDATA"}

// appendLine renders r without a line end.
func (l *Layout) appendLine(dst []byte, r *line) []byte {
	data := r.status == statusOK
	for i, f := range l.fields {
		if i > 0 {
			dst = append(dst, ' ')
		}
		switch f {
		case fVersion:
			dst = strconv.AppendInt(dst, int64(l.version), 10)
		case fStart:
			dst = strconv.AppendInt(dst, r.start, 10)
		case fEnd:
			dst = strconv.AppendInt(dst, r.end, 10)
		case fStatus:
			dst = append(dst, statusNames[r.status]...)
		case fAccount:
			dst = appendText(dst, r.at.account)
		case fInterface:
			dst = appendText(dst, r.at.id)
		case fVPC:
			dst = appendText(dst, r.at.subnet.vpc.id)
		case fSubnet:
			dst = appendText(dst, r.at.subnet.id)
		case fInstance:
			dst = appendText(dst, r.at.instance)
		case fRegion:
			dst = appendText(dst, r.at.subnet.vpc.region)
		case fAZ:
			dst = appendText(dst, r.at.subnet.az)
		case fInterfaceType:
			dst = appendText(dst, r.at.kind.interfaceType())
		case fInstanceTag, fInterfaceTag, fASGTag:
			dst = appendText(dst, r.at.tag)
		default:
			if !data {
				dst = append(dst, '-')
				continue
			}
			dst = appendFlow(dst, f, r)
		}
	}
	return dst
}

// appendFlow renders the fields that only records of status OK have.
func appendFlow(dst []byte, f uint8, r *line) []byte {
	switch f {
	case fSrc:
		return append(dst, r.src.text...)
	case fDst:
		return append(dst, r.dst.text...)
	case fSrcPort:
		return strconv.AppendUint(dst, uint64(r.srcPort), 10)
	case fDstPort:
		return strconv.AppendUint(dst, uint64(r.dstPort), 10)
	case fProtocol:
		return strconv.AppendUint(dst, uint64(r.proto), 10)
	case fPackets:
		return strconv.AppendInt(dst, r.packets, 10)
	case fBytes:
		return strconv.AppendInt(dst, r.bytes, 10)
	case fAction:
		if r.reject {
			return append(dst, "REJECT"...)
		}
		return append(dst, "ACCEPT"...)
	case fFlags:
		if r.proto == protoTCP {
			return strconv.AppendUint(dst, uint64(r.flags), 10)
		}
	case fType:
		if r.src.ip.Is6() {
			return append(dst, "IPv6"...)
		}
		return append(dst, "IPv4"...)
	case fPktSrc:
		return append(dst, r.pktSrc.text...)
	case fPktDst:
		return append(dst, r.pktDst.text...)
	case fPktSrcService:
		return appendText(dst, r.pktSrc.service)
	case fPktDstService:
		return appendText(dst, r.pktDst.service)
	case fDirection:
		if r.egress {
			return append(dst, "egress"...)
		}
		return append(dst, "ingress"...)
	case fPath:
		if r.egress && r.path > 0 {
			return strconv.AppendUint(dst, uint64(r.path), 10)
		}
	case fEncryption:
		if r.at.subnet.vpc.encryption {
			return append(dst, '0')
		}
	case fECSClusterARN, fECSClusterName, fECSService, fECSTaskDefinition, fECSTaskARN, fECSTaskID:
		return appendECS(dst, f, r.at.task)
	default:
		if r.next != nil {
			return appendNext(dst, f, r.next)
		}
	}
	return append(dst, '-')
}

func appendECS(dst []byte, f uint8, t *task) []byte {
	switch {
	case t == nil:
		return append(dst, '-')
	case f == fECSClusterARN:
		return append(dst, t.clusterARN...)
	case f == fECSClusterName:
		return append(dst, t.cluster...)
	case f == fECSService:
		return append(dst, t.service...)
	case f == fECSTaskDefinition:
		return append(dst, t.definition...)
	case f == fECSTaskARN:
		return append(dst, t.arn...)
	}
	return append(dst, t.id...)
}

func appendNext(dst []byte, f uint8, next *iface) []byte {
	switch f {
	case fNextInterface:
		return append(dst, next.id...)
	case fNextSubnet:
		return append(dst, next.subnet.id...)
	case fNextAZ:
		return append(dst, next.subnet.az...)
	case fNextVPC:
		return append(dst, next.subnet.vpc.id...)
	case fNextType:
		return appendText(dst, next.kind.interfaceType())
	}
	return append(dst, '-')
}

func appendText(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, '-')
	}
	return append(dst, s...)
}
