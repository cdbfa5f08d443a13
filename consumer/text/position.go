package text

import (
	"cmp"
	"fmt"
	"strconv"

	"dredge/stream"
)

// Position writes a place in a file, which its reader counts in bytes of text or in rows.
func Position(at int64) stream.Position { return stream.Position(strconv.FormatInt(at, 10)) }

// ParsePosition reads what Position wrote; "" is the beginning.
func ParsePosition(p stream.Position) (int64, error) {
	if p == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(p), 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("position %q is not a place in a file", string(p))
	}
	return n, nil
}

// ComparePositions orders two places in a file, as cmp.Compare does. What is no place counts as the beginning.
func ComparePositions(a, b stream.Position) int {
	na, _ := ParsePosition(a)
	nb, _ := ParsePosition(b)
	return cmp.Compare(na, nb)
}
