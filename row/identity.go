package row

import "sync/atomic"

// Identity is who an address belonged to, ready to be written into rows. Its maker interns identities by content, so that
// all rows that name the same thing share one; it is never modified after it was published. It must not be copied.
type Identity struct {
	// App is a name escaped by EscapeApp, or a reserved token. It is never empty.
	App string

	// memos are lists, one for the keys of each side: nearly always of one Memo, which is then found at once. They lie beside
	// App, which is read together with them.
	memos [2]atomic.Pointer[Memo]

	// AppSource is the rule that chose App (a tag key, ecs, kubernetes, …).
	AppSource string
	Cluster   string
	Team      string
	Account   string
	Region    string
	// AZ is the zone id (use1-az4), never the zone's name, which differs between accounts.
	AZ, VPC, Subnet string
	// Kind is what the end is: instance, pod, task, nat_gateway, load_balancer, …, KindInternet, KindService, KindNetwork or
	// KindUnknown. It is never empty.
	Kind string
	// Network and Site name the most specific declared prefix that covers the address, when only that is known.
	Network, Site string
}

// Peek returns what was rendered last for the side of key, nil when nothing was. Nearly always that is the Memo of key itself:
// who will ask for many can have them read ahead together.
func (id *Identity) Peek(key uint32) *Memo { return id.memos[key>>sideBit&1].Load() }

// Memo is a text rendered from an Identity, kept with it.
type Memo struct {
	// Text is the whole rendering; Text[Head:] leaves the application out.
	Text string
	Head int

	key  uint32
	next *Memo
}

// DimensionKey stands for the text that the dimensions of a row have: rows with equal keys have equal text, not the other way round. It holds
// the renderings of both identities, the codes of closed vocabularies, and a number.
type DimensionKey struct {
	Src, Dst      *Memo
	Codes, Number uint64
}

// sideBit of a key is 1 for one side and 0 for the other.
const sideBit = 30

// Memo returns what render makes of id. It is made once for each key and kept as long as id lives: an encoder uses one key
// per side and choice of columns, so a process holds a handful; bit 30 of a key tells the sides apart. Safe for concurrent use; after the first call for a key it
// neither locks nor allocates.
func (id *Identity) Memo(key uint32, render func(*Identity) (text string, head int)) *Memo {
	memo := &id.memos[key>>sideBit&1]
	for m := memo.Load(); m != nil; m = m.next {
		if m.key == key {
			return m
		}
	}
	text, head := render(id)
	made := &Memo{Text: text, Head: head, key: key}
	for {
		first := memo.Load()
		for m := first; m != nil; m = m.next {
			if m.key == key { // another encoder was faster
				return m
			}
		}
		made.next = first
		if memo.CompareAndSwap(first, made) {
			return made
		}
	}
}
