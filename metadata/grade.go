package metadata

// Grade says why a name is believed, or why there is none. Its text form is public: it stands in rows and on metrics.
type Grade uint8

// The grades. Only Confirmed and Covered name an end by default.
const (
	// Unknown means that nothing can be said.
	Unknown Grade = iota
	// Confirmed means that traffic itself (a heartbeat range, or identity in the record) proves the owner for the whole flow.
	Confirmed
	// Covered means that one told tenure holds the flow, and every source has told everything up to its end.
	Covered
	// Provisional means that one told tenure holds the flow, but a source has not told everything yet.
	Provisional
	// Border means that the flow lies at the edge of a tenure, so that a neighbour could be meant.
	Border
	// Ambiguous means that two owners lie inside the flow.
	Ambiguous
	// Stale means that only an earlier owner is known, whose tenure has ended.
	Stale
	// Prefix means that only the network is known.
	Prefix
	// PublicEnd means a public address that nobody of ours owns.
	PublicEnd
	gradeCount
)

//nolint:gochecknoglobals // read-only table
var gradeText = [gradeCount]string{
	"unknown", "confirmed", "covered", "provisional", "border", "ambiguous", "stale", "prefix", "public",
}

// String returns the grade's public text.
func (g Grade) String() string {
	if g < gradeCount {
		return gradeText[g]
	}
	return "invalid"
}

// Names says whether an end of this grade is named by default.
func (g Grade) Names() bool { return g == Confirmed || g == Covered }

// Grades is a set of grades.
type Grades uint16

// DefaultGrades are the grades that name an end unless the configuration widens them.
const DefaultGrades = Grades(1<<Confirmed | 1<<Covered)

// Has says whether g is in the set.
func (s Grades) Has(g Grade) bool { return s>>g&1 == 1 }

// ParseGrade returns the grade whose text is s.
func ParseGrade(s string) (Grade, bool) {
	for g, text := range gradeText {
		if s == text {
			return Grade(g), true
		}
	}
	return Unknown, false
}
