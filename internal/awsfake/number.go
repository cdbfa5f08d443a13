package awsfake

import (
	"math/big"
	"strconv"
	"strings"
)

// decimal is a DynamoDB number: up to 38 significant digits, read as ±0.digits × 10^exponent. Zero has no digits.
type decimal struct {
	negative bool
	digits   string // without zeros at either end
	exponent int
}

const (
	maxDigits = 38
	// The magnitude of a number lies between 1E-130 and 9.99…E+125.
	minExponent = -129
	maxExponent = 126
)

// parseDecimal reads the forms that DynamoDB takes: sign, digits, point, exponent.
func parseDecimal(s string) (decimal, error) {
	malformed := func() (decimal, error) {
		return decimal{}, failure("ValidationException", "The parameter cannot be converted to a numeric value: %s", s)
	}
	var d decimal
	rest := s
	if rest != "" && (rest[0] == '-' || rest[0] == '+') {
		d.negative = rest[0] == '-'
		rest = rest[1:]
	}
	mantissa, power := rest, ""
	if i := strings.IndexAny(rest, "eE"); i >= 0 {
		mantissa, power = rest[:i], rest[i+1:]
		if power == "" || len(power) > 6 {
			return malformed()
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := whole + fraction
	if digits == "" || len(digits) > 4096 || strings.Trim(digits, "0123456789") != "" {
		return malformed()
	}
	if power != "" {
		n, err := strconv.Atoi(power)
		if err != nil {
			return malformed()
		}
		d.exponent = n
	}
	d.exponent += len(whole)
	trimmed := strings.TrimLeft(digits, "0")
	d.exponent -= len(digits) - len(trimmed)
	d.digits = strings.TrimRight(trimmed, "0")
	if d.digits == "" {
		return decimal{}, nil
	}
	return d, d.check()
}

func (d decimal) check() error {
	switch {
	case len(d.digits) > maxDigits:
		return failure("ValidationException", "Attempting to store more than 38 significant digits in a Number")
	case d.exponent > maxExponent:
		return failure("ValidationException", "Number overflow. Attempting to store a number with magnitude larger than supported range")
	case d.exponent < minExponent:
		return failure("ValidationException", "Number underflow. Attempting to store a number with magnitude smaller than supported range")
	}
	return nil
}

// String writes the number without an exponent, as DynamoDB returns it.
func (d decimal) String() string {
	if d.digits == "" {
		return "0"
	}
	var b strings.Builder
	if d.negative {
		b.WriteByte('-')
	}
	switch n := len(d.digits); {
	case d.exponent <= 0:
		b.WriteString("0." + strings.Repeat("0", -d.exponent) + d.digits)
	case d.exponent >= n:
		b.WriteString(d.digits + strings.Repeat("0", d.exponent-n))
	default:
		b.WriteString(d.digits[:d.exponent] + "." + d.digits[d.exponent:])
	}
	return b.String()
}

func (d decimal) sign() int {
	switch {
	case d.digits == "":
		return 0
	case d.negative:
		return -1
	default:
		return 1
	}
}

func (d decimal) compare(o decimal) int {
	if s, t := d.sign(), o.sign(); s != t || s == 0 {
		return s - t
	}
	magnitude := d.exponent - o.exponent
	if magnitude == 0 {
		magnitude = strings.Compare(d.digits, o.digits)
	}
	if d.negative {
		return -magnitude
	}
	return magnitude
}

// add is d + o.
func (d decimal) add(o decimal) (decimal, error) {
	scale := min(d.exponent-len(d.digits), o.exponent-len(o.digits))
	sum := d.integer(scale)
	sum.Add(sum, o.integer(scale))
	text := sum.String() + "E" + strconv.Itoa(scale)
	return parseDecimal(text)
}

func (d decimal) minus() decimal {
	d.negative = !d.negative && d.digits != ""
	return d
}

// integer is d / 10^scale, scale being small enough that nothing is lost.
func (d decimal) integer(scale int) *big.Int {
	if d.digits == "" {
		return new(big.Int)
	}
	n, _ := new(big.Int).SetString(d.digits, 10)
	power := big.NewInt(int64(d.exponent - len(d.digits) - scale))
	n.Mul(n, power.Exp(big.NewInt(10), power, nil))
	if d.negative {
		n.Neg(n)
	}
	return n
}

// mustDecimal reads a number that has been checked before.
func mustDecimal(s string) decimal {
	d, err := parseDecimal(s)
	if err != nil {
		panic("BUG: a stored number is malformed: " + s)
	}
	return d
}
