package row

// The closed vocabularies of rows. The zero value of each is "not known" or "absent"; String gives the text that stands in
// the column, "" for an absent value.

// Action is what was done with the traffic.
type Action uint8

// The actions.
const (
	ActionNone Action = iota
	Accept
	Reject
)

// Direction is relative to the interface that recorded.
type Direction uint8

// The directions.
const (
	DirectionUnknown Direction = iota
	Ingress
	Egress
)

// DirectionBy is how the direction is known.
type DirectionBy uint8

// The ways to know a direction.
const (
	DirectionByNone DirectionBy = iota
	// DirectionByRecord means that the record says it.
	DirectionByRecord
	// DirectionByInterface means that one of the addresses was the interface's own.
	DirectionByInterface
)

// End is one of the two ends of a flow, or the middle of its way.
type End uint8

// The ends.
const (
	EndUnknown End = iota
	EndSrc
	EndDst
	EndMiddle
)

// ClientBy is how the side that opened the connection is known.
type ClientBy uint8

// The ways to know the client, strongest first.
const (
	ClientByNone ClientBy = iota
	// ClientByTCPFlags means that the record holds the SYN or the SYN-ACK.
	ClientByTCPFlags
	// ClientByListen means that one end was known to listen on its port.
	ClientByListen
	// ClientByPort means that only one of the ports looks like a service's.
	ClientByPort
)

// CountedHow says why the row is counted, or why not.
type CountedHow uint8

// The rules of counting, of which the first that applies decides which observation of a flow counts.
const (
	CountedNone CountedHow = iota
	// CountedReject is the rejecting end: a packet is rejected once only.
	CountedReject
	// CountedSource means that flows of the source address are logged: the source's observation counts.
	CountedSource
	// CountedDestination means that only flows of the destination address are logged: the destination's observation counts.
	CountedDestination
	// CountedForwarder means that neither end's flows are logged: the inner leg of the first forwarder counts.
	CountedForwarder
	// CountedUnsure means that who else observes the flow can't be known: counted, perhaps twice.
	CountedUnsure
)

// Path is the class of way that a flow took.
type Path uint8

// The paths.
const (
	PathUnknown Path = iota
	PathSameAZ
	PathCrossAZ
	PathCrossRegion
	PathSameVPC
	PathCrossVPC
	PathCrossAccount
	PathOnPremises
	PathAWSService
	PathInternet
)

// Segmentation is what the declared edges say of a flow.
type Segmentation uint8

// The verdicts.
const (
	SegmentationNone Segmentation = iota
	// SegmentationAllowed means that a declared edge, or the default, lets the flow's client talk to its server.
	SegmentationAllowed
	// SegmentationUnexpected means that both ends are known and nothing allows the flow.
	SegmentationUnexpected
	// SegmentationExpired means that the only edge that would allow the flow had ended when it began.
	SegmentationExpired
	// SegmentationUnknown means that it can't be told, because an end is not named or it isn't known which one is the client.
	SegmentationUnknown
)

// Segmentations is how many there are, absent included.
const Segmentations = 5

// GradePublic is the grade of public ends, GradePrefix that of ends in a declared network, and GradeUnknown that of ends of which
// nothing is known.
const (
	GradeUnknown = "unknown"
	GradePrefix  = "prefix"
	GradePublic  = "public"
)

// gradeCode is the place of a grade in gradeTexts; 0 for what is no grade.
func gradeCode(grade string) uint16 {
	switch grade {
	case "confirmed":
		return 1
	case "covered":
		return 2
	case "provisional":
		return 3
	case "border":
		return 4
	case "ambiguous":
		return 5
	case "stale":
		return 6
	case "prefix":
		return 7
	case GradePublic:
		return 8
	default:
		return 0
	}
}

//nolint:gochecknoglobals // read-only tables
var (
	gradeTexts        = []string{GradeUnknown, "confirmed", "covered", "provisional", "border", "ambiguous", "stale", GradePrefix, GradePublic}
	boolTexts         = []string{"false", "true"}
	actionTexts       = []string{"", "ACCEPT", "REJECT"}
	directionTexts    = []string{"unknown", "ingress", "egress"}
	directionByTexts  = []string{"unknown", "record", "interface"}
	endTexts          = []string{"unknown", "src", "dst", "middle"}
	clientByTexts     = []string{"none", "tcp-flags", "listen", "port"}
	countedHowTexts   = []string{"unknown", "reject", "source", "destination", "forwarder", "unsure"}
	segmentationTexts = []string{"", "allowed", "unexpected", "expired", "unknown"}
	pathTexts         = []string{
		"unknown", "same-az", "cross-az", "cross-region", "same-vpc", "cross-vpc", "cross-account", "on-premises",
		"aws-service", "internet",
	}
)

func (a Action) String() string      { return textOf(actionTexts, a) }
func (d Direction) String() string   { return textOf(directionTexts, d) }
func (d DirectionBy) String() string { return textOf(directionByTexts, d) }
func (e End) String() string         { return textOf(endTexts, e) }
func (c ClientBy) String() string    { return textOf(clientByTexts, c) }
func (c CountedHow) String() string  { return textOf(countedHowTexts, c) }
func (p Path) String() string        { return textOf(pathTexts, p) }

// String returns the text that stands in the column segmentation.
func (s Segmentation) String() string { return textOf(segmentationTexts, s) }

func textOf[T ~uint8 | ~uint16](texts []string, i T) string {
	if int(i) >= len(texts) {
		return "unknown"
	}
	return texts[i]
}

// Missing is a set of fields that the record's layout does not have, or that hold '-' in it. They are left out of the row:
// an absent count is not 0. The zero value says that all are there.
type Missing uint8

// The fields that can be missing.
const (
	MissingTime Missing = 1 << iota
	MissingBytes
	MissingPackets
	MissingSrcPort
	MissingDstPort
	MissingProtocol
	// MissingStart and MissingEnd are one of the two times, where the other stands for both; MissingTime is both.
	MissingStart
	MissingEnd
)
