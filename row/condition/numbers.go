package condition

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// numbers is a list of ranges, both ends included.
type numbers []span

type span struct{ low, high int64 }

func (n numbers) match(x int64) bool {
	for _, s := range n {
		if x >= s.low && x <= s.high {
			return true
		}
	}
	return false
}

func (n *numbers) add(v string) error {
	s, err := parseSpan(v)
	if err != nil {
		return fmt.Errorf("%q is no number, range or bound; write 443, 8000-8099 or \">= 1024\"", v)
	}
	if s.low > s.high {
		return fmt.Errorf("%q holds no number; write the smaller one first", v)
	}
	*n = append(*n, s)
	return nil
}

func parseSpan(v string) (span, error) {
	text := strings.TrimSpace(v)
	for _, op := range [...]string{"<=", ">=", "<", ">"} { // the longer ones first
		rest, ok := strings.CutPrefix(text, op)
		if !ok {
			continue
		}
		x, err := strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
		switch {
		case err != nil:
			return span{}, err
		case op == "<=":
			return span{math.MinInt64, x}, nil
		case op == ">=":
			return span{x, math.MaxInt64}, nil
		case op == "<" && x > math.MinInt64:
			return span{math.MinInt64, x - 1}, nil
		case op == ">" && x < math.MaxInt64:
			return span{x + 1, math.MaxInt64}, nil
		default:
			return span{1, 0}, nil
		}
	}
	low, high, isRange := strings.Cut(text, "-")
	if low == "" { // a negative number
		isRange = false
	}
	if !isRange {
		x, err := strconv.ParseInt(text, 10, 64)
		return span{x, x}, err
	}
	from, err := strconv.ParseInt(strings.TrimSpace(low), 10, 64)
	if err != nil {
		return span{}, err
	}
	to, err := strconv.ParseInt(strings.TrimSpace(high), 10, 64)
	return span{from, to}, err
}
