package lease

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"dredge/stream"
)

// Sentinels that stand in the checkpoint attribute in place of a sequence number.
const (
	TrimHorizon = "TRIM_HORIZON"
	Latest      = "LATEST"
	AtTimestamp = "AT_TIMESTAMP"
	ShardEnd    = "SHARD_END"
)

// maxSequenceDigits bounds what is accepted as a sequence number. Kinesis uses up to 186 bits, which is 56 digits.
const maxSequenceDigits = 128

// Checkpoint is a place in a shard as the lease table holds it: a sequence number or a sentinel, and the index of the user
// record inside an aggregated (KPL) record. Everything up to and including it is done with. The zero Checkpoint is no place.
type Checkpoint struct {
	// Sequence is a decimal number without bound, or one of the sentinels.
	Sequence string
	// Sub is 0 for plain records and sentinels.
	Sub int64
}

// ParseCheckpoint checks the two attributes of a lease row.
func ParseCheckpoint(sequence string, sub int64) (Checkpoint, error) {
	c := Checkpoint{Sequence: sequence, Sub: sub}
	if sub < 0 {
		return Checkpoint{}, fmt.Errorf("checkpoint %q: sub-sequence number %d is negative", sequence, sub)
	}
	switch sequence {
	case TrimHorizon, Latest, AtTimestamp, ShardEnd:
		return c, nil
	case "":
		return Checkpoint{}, errors.New(`checkpoint "": want a sequence number or TRIM_HORIZON, LATEST, AT_TIMESTAMP, SHARD_END`)
	}
	if len(sequence) > maxSequenceDigits {
		return Checkpoint{}, fmt.Errorf("checkpoint %q…: longer than %d digits", sequence[:maxSequenceDigits], maxSequenceDigits)
	}
	for i := range len(sequence) {
		if sequence[i] < '0' || sequence[i] > '9' {
			return Checkpoint{}, fmt.Errorf("checkpoint %q: want a decimal sequence number or TRIM_HORIZON, LATEST, AT_TIMESTAMP, SHARD_END", sequence)
		}
	}
	return c, nil
}

// ParsePosition reads the text form of a position in a shard: "<sequence>", "<sequence>:<sub-sequence>" or a sentinel.
func ParsePosition(p stream.Position) (Checkpoint, error) {
	sequence, subText, hasSub := strings.Cut(string(p), ":")
	var sub int64
	if hasSub {
		n, err := strconv.ParseUint(subText, 10, 63)
		if err != nil {
			return Checkpoint{}, fmt.Errorf("position %q: sub-sequence number %q is not a number below 2^63", string(p), subText)
		}
		sub = int64(n)
	}
	c, err := ParseCheckpoint(sequence, sub)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("position %q: %w", string(p), err)
	}
	return c, nil
}

// Position is the text form of c, "" for the zero Checkpoint. A sub-sequence number of 0 is left out.
func (c Checkpoint) Position() stream.Position {
	if c.Sub == 0 {
		return stream.Position(c.Sequence)
	}
	return stream.Position(c.Sequence + ":" + strconv.FormatInt(c.Sub, 10))
}

// String is the same text as Position.
func (c Checkpoint) String() string { return string(c.Position()) }

// IsZero says whether c is no place at all.
func (c Checkpoint) IsZero() bool { return c.Sequence == "" }

// IsShardEnd says whether the shard was read to its end.
func (c Checkpoint) IsShardEnd() bool { return c.Sequence == ShardEnd }

// IsSequence says whether c names a record, so whether the shard's reading has ever been checkpointed.
func (c Checkpoint) IsSequence() bool {
	return c.Sequence != "" && c.Sequence[0] >= '0' && c.Sequence[0] <= '9'
}

// rank orders the kinds of checkpoints as the Kinesis Client Library does.
func (c Checkpoint) rank() int {
	switch c.Sequence {
	case "":
		return math.MinInt
	case AtTimestamp:
		return -3
	case TrimHorizon:
		return -2
	case Latest:
		return -1
	case ShardEnd:
		return 1
	default:
		return 0
	}
}

// Compare orders places in one shard: nothing < AT_TIMESTAMP < TRIM_HORIZON < LATEST < sequence numbers, by value < SHARD_END;
// then by sub-sequence number. It returns -1, 0 or +1.
func (c Checkpoint) Compare(o Checkpoint) int {
	if n := cmp.Compare(c.rank(), o.rank()); n != 0 {
		return n
	}
	if c.IsSequence() {
		if n := compareDecimal(c.Sequence, o.Sequence); n != 0 {
			return n
		}
	}
	return cmp.Compare(c.Sub, o.Sub)
}

// compareDecimal compares numbers of any size by value: without leading zeros the longer one is greater.
func compareDecimal(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if n := cmp.Compare(len(a), len(b)); n != 0 {
		return n
	}
	return strings.Compare(a, b)
}

// Later returns the greater of a and b.
func Later(a, b Checkpoint) Checkpoint {
	if a.Compare(b) < 0 {
		return b
	}
	return a
}

// CompareSequences compares two sequence numbers by value.
func CompareSequences(a, b string) int { return compareDecimal(a, b) }
