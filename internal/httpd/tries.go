package httpd

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// triesAtOnce is how often an address may send a wrong secret before it has to wait: people mistype, and a scraper with an old
	// token asks every few seconds.
	triesAtOnce = 10
	// tryAgainEvery is how soon it may try once more.
	tryAgainEvery = 30 * time.Second
	// maxAddresses bounds what is remembered; the address that failed the longest ago is forgotten first.
	maxAddresses = 4096
)

// tries bounds how often a secret can be guessed from one address: an IPv4 address, or the /64 that one IPv6 host has to itself. What
// headers say of an address is not believed.
type tries struct {
	mu sync.Mutex
	// full is when an address that failed may fail triesAtOnce times again.
	full *simplelru.LRU[netip.Prefix, time.Time]
}

func newTries() (*tries, error) {
	full, err := simplelru.NewLRU[netip.Prefix, time.Time](maxAddresses, nil)
	if err != nil {
		return nil, err
	}
	return &tries{full: full}, nil
}

// try calls check, which says whether what r proves itself with is right, unless the address of r has failed too often: then wait is how long it has to
// wait, and nothing is compared. One is checked after another, so that asking at once gains no tries.
func (t *tries) try(r *http.Request, check func() bool) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	from, now := addressOf(r), time.Now()
	full, _ := t.full.Peek(from)
	if full.Before(now) {
		full = now
	}
	if wait = full.Sub(now) - (triesAtOnce-1)*tryAgainEvery; wait > 0 {
		return wait
	}
	if !check() {
		t.full.Add(from, full.Add(tryAgainEvery))
	}
	return 0
}

// addressOf is whom tries are counted by. What is no address counts as one.
func addressOf(r *http.Request) netip.Prefix {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	ip, bits := at.Addr().Unmap().WithZone(""), 32
	if ip.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(ip, bits).Masked()
}
