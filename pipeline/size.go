package pipeline

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ByteSize is a number of bytes. In a config file it is written 512MiB, 64KiB, 1GiB, or as a plain number of bytes.
type ByteSize int64

// Sizes of binary prefixes.
const (
	KiB ByteSize = 1 << 10
	MiB ByteSize = 1 << 20
	GiB ByteSize = 1 << 30
)

// String writes s with the largest binary prefix that divides it.
func (s ByteSize) String() string {
	switch {
	case s != 0 && s%GiB == 0:
		return strconv.FormatInt(int64(s/GiB), 10) + "GiB"
	case s != 0 && s%MiB == 0:
		return strconv.FormatInt(int64(s/MiB), 10) + "MiB"
	case s != 0 && s%KiB == 0:
		return strconv.FormatInt(int64(s/KiB), 10) + "KiB"
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText writes s as String does.
func (s ByteSize) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what String writes. Decimal prefixes (MB) are refused: they are mostly meant as binary ones.
func (s *ByteSize) UnmarshalText(text []byte) error {
	str := strings.TrimSpace(string(text))
	digits, unit := str, ByteSize(1)
	for _, u := range []struct {
		suffix string
		size   ByteSize
	}{{"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}} {
		if rest, ok := strings.CutSuffix(str, u.suffix); ok {
			digits, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is no size; write a whole number of bytes, or one with KiB, MiB or GiB, like 512MiB", str)
	}
	if n > math.MaxInt64/int64(unit) {
		return fmt.Errorf("%q is too large a size", str)
	}
	*s = ByteSize(n) * unit
	return nil
}
