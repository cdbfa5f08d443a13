package kinesis

import (
	"math/rand/v2"
	"time"
)

// stretched returns d lengthened at random by up to a half.
func stretched(d time.Duration) time.Duration { return d + rand.N(d/2+1) }

// jittered returns d shortened at random by up to a tenth.
func jittered(d time.Duration) time.Duration { return d - rand.N(d/10+1) }
