package flowgen

import (
	"math"
	"math/rand/v2"
)

// Every concern draws from a stream of its own, so that another identity policy or another delivery delay leaves the
// traffic as it was.
const (
	streamEstate = iota + 1
	streamChurn
	streamTraffic
	streamDelivery
	streamIdentity
	streamKeys
)

type random struct{ *rand.Rand }

func newRandom(seed, stream uint64) random {
	return random{rand.New(rand.NewPCG(seed, stream*0x9e3779b97f4a7c15))} //nolint:gosec // reproducible on purpose
}

// chance is true with probability p.
func (r random) chance(p float64) bool { return p > 0 && r.Float64() < p }

// between returns a whole number in [lo, hi].
func (r random) between(lo, hi int64) int64 {
	if hi <= lo {
		return lo
	}
	return lo + r.Int64N(hi-lo+1)
}

// exp returns an exponentially distributed time in milliseconds, at least 1.
func (r random) exp(mean float64) int64 { return int64(r.ExpFloat64()*mean) + 1 }

// logNormal has the given median; sigma is the standard deviation of the logarithm.
func (r random) logNormal(median, sigma float64) float64 {
	return median * math.Exp(sigma*r.NormFloat64())
}

// mix is splitmix64's finaliser: a bijection, so that ids made from a counter never repeat.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
