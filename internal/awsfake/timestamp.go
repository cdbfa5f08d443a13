package awsfake

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// timestamp is a point in time as a client sends it, cut to milliseconds.
type timestamp struct {
	time.Time
}

// UnmarshalJSON reads epoch seconds with a fraction.
func (t *timestamp) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	seconds, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return fmt.Errorf("timestamp %q is not a number of seconds", b)
	}
	t.Time = fromSeconds(seconds)
	return nil
}

// UnmarshalCBOR reads a number with or without tag 1. The Java SDK sends milliseconds, RPC v2 seconds: no date before the
// year 5138 has 10^11 seconds, none after 1973 has fewer milliseconds.
func (t *timestamp) UnmarshalCBOR(b []byte) error {
	var tag cbor.RawTag
	if err := cbor.Unmarshal(b, &tag); err == nil {
		b = tag.Content
	}
	var n float64
	if err := cbor.Unmarshal(b, &n); err != nil {
		var i int64
		if err := cbor.Unmarshal(b, &i); err != nil {
			return fmt.Errorf("timestamp: %w", err)
		}
		n = float64(i)
	}
	if math.Abs(n) > 1e11 {
		t.Time = time.UnixMilli(int64(n))
		return nil
	}
	t.Time = fromSeconds(n)
	return nil
}

func fromSeconds(s float64) time.Time { return time.UnixMilli(int64(math.Round(s * 1000))) }
