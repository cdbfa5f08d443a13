// Package page is the web page that dredge serves at "/": plain ES modules and one vendored chart library, embedded in the
// binary, with no build step and nothing fetched from elsewhere. It shows what Status holds and changes nothing.
package page

import (
	"bytes"
	"embed"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"time"
)

//go:embed static
var static embed.FS

// Status is what the page shows, as /api/status answers it. Counters count from the start of the process; the page makes
// rates from their differences.
type Status struct {
	Now     time.Time `json:"now"`
	Started time.Time `json:"started"`
	Version string    `json:"version"`
	Worker  string    `json:"worker"`
	// Source names the stream or files that are read, Sink where rows go and with which guarantee.
	Source string `json:"source"`
	Sink   string `json:"sink"`
	// Problems say in words what is wrong now; none means that all is well.
	Problems []string `json:"problems"`
	Books    Books    `json:"books"`
	// Ends counts the ends of the last minutes' rows by grade.
	Ends   map[string]int64 `json:"ends"`
	Shards []Shard          `json:"shards"`
	Edges  []Edge           `json:"edges"`
	// EdgeWindow is the time that Edges are sums over, in seconds.
	EdgeWindow int      `json:"edge_window"`
	Rejected   []Reject `json:"rejected"`
	// LogGroups say what comes in, and what it lacks.
	LogGroups []LogGroup `json:"log_groups"`
}

// LogGroup is one log group as this worker sees it.
type LogGroup struct {
	// Name is empty for lines that came without a CloudWatch envelope.
	Name     string `json:"name"`
	Account  string `json:"account"`
	Lines    int64  `json:"lines"`
	Rejected int64  `json:"rejected"`
	// Format is the layout of its lines; empty when no rule gives one.
	Format string `json:"format"`
	// NoData lines say that an interface had no traffic, SkipData lines that AWS lost flows.
	NoData   int64 `json:"no_data"`
	SkipData int64 `json:"skip_data"`
	// Missing are the fields that the layout lacks and dredge would use.
	Missing []Missing `json:"missing"`
	Last    time.Time `json:"last"`
}

// Missing is a field that a layout lacks, and what that costs.
type Missing struct {
	Field string `json:"field"`
	Cost  string `json:"cost"`
}

// Books is the account of all lines (see docs/design.md, the books balance).
type Books struct {
	Lines     int64            `json:"lines"`
	Decoded   int64            `json:"decoded"`
	Delivered int64            `json:"delivered"`
	InFlight  int64            `json:"in_flight"`
	Rejected  map[string]int64 `json:"rejected"`
	Skipped   map[string]int64 `json:"skipped"`
	Dropped   map[string]int64 `json:"dropped"`
	// DeadLettered are decoded lines that became no row; rejected lines stand in Rejected.
	DeadLettered map[string]int64 `json:"dead_lettered"`
	Abandoned    map[string]int64 `json:"abandoned"`
	// Payloads that could not be read as a whole have their own book.
	PayloadFaults map[string]int64 `json:"payload_faults"`
	// Imbalance says which side of the books is off and by how much; empty when they balance.
	Imbalance string `json:"imbalance"`
}

// Shard is one partition as this worker sees it.
type Shard struct {
	ID    string `json:"id"`
	Owner string `json:"owner"`
	// Mine is true when this worker reads it.
	Mine       bool   `json:"mine"`
	State      string `json:"state"`
	LagMillis  int64  `json:"lag_ms"`
	Checkpoint string `json:"checkpoint"`
	// InFlight counts reads of this worker whose rows are not yet durable.
	InFlight int `json:"in_flight"`
}

// Edge is one pair of workloads that talked in the last minutes.
type Edge struct {
	Src   string `json:"src"`
	Dst   string `json:"dst"`
	Bytes int64  `json:"bytes"`
	Flows int64  `json:"flows"`
}

// Reject is one line that could not be decoded.
type Reject struct {
	Time      time.Time `json:"time"`
	Partition string    `json:"partition"`
	Position  string    `json:"position"`
	Index     int       `json:"index"`
	Reason    string    `json:"reason"`
	Detail    string    `json:"detail"`
	LogGroup  string    `json:"log_group"`
	Line      string    `json:"line"`
}

// Views are what the page asks for. Each is called for every request; they must be safe for concurrent use and must not block.
type Views struct {
	Status   func() Status
	Talks    func() Talks
	Unknowns func() Unknowns
	Coverage func() Coverage
	// Settings writes the configuration in force as YAML, without secrets.
	Settings func(io.Writer) error
}

// Handlers returns what to mount, by ServeMux pattern.
func Handlers(v Views) map[string]http.Handler {
	serve := http.FileServerFS(files())
	return map[string]http.Handler{
		"GET /{$}":     document("index.html"),
		"GET /assets/": http.StripPrefix("/assets/", serve),
		"GET /api/config": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("Cache-Control", "no-store")
			_ = v.Settings(w) // the client went away; there is nobody to tell
		}),
		"GET /api/status": answer(func() any {
			s := v.Status()
			s.Problems, s.Shards = orEmpty(s.Problems), orEmpty(s.Shards)
			s.Edges, s.Rejected, s.LogGroups = orEmpty(s.Edges), orEmpty(s.Rejected), orEmpty(s.LogGroups)
			return s
		}),
		"GET /api/talks": answer(func() any {
			t := v.Talks()
			t.Edges = orEmpty(t.Edges)
			return t
		}),
		"GET /api/unknowns": answer(func() any {
			u := v.Unknowns()
			u.Addresses = orEmpty(u.Addresses)
			return u
		}),
		"GET /api/coverage": answer(func() any {
			c := v.Coverage()
			c.LogGroups, c.Networks, c.Silent = orEmpty(c.LogGroups), orEmpty(c.Networks), orEmpty(c.Silent)
			return c
		}),
	}
}

// answer serves what f returns as JSON.
func answer(f func() any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(f()) // the client went away; there is nobody to tell
	})
}

// files are the embedded files.
func files() fs.FS {
	sub, err := fs.Sub(static, "static")
	if err != nil {
		panic("BUG: embedded page is missing: " + err.Error())
	}
	return sub
}

// lookupForm is the file that both pages hold in the place of its name: the form that asks about an address, and where the answers go.
const lookupForm = "lookupform.html"

// document serves one of the two pages.
func document(name string) http.Handler {
	read := func(name string) []byte {
		data, err := fs.ReadFile(files(), name)
		if err != nil {
			panic("BUG: embedded page is missing: " + err.Error())
		}
		return data
	}
	whole := bytes.Replace(read(name), []byte("<!-- "+lookupForm+" -->"), read(lookupForm), 1)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(whole))
	})
}

// LookupHandlers returns the page "look up an address", by ServeMux pattern. It asks /v1/ip of the same server.
func LookupHandlers() map[string]http.Handler {
	return map[string]http.Handler{
		"GET /{$}":     document("lookup.html"),
		"GET /assets/": http.StripPrefix("/assets/", http.FileServerFS(files())),
	}
}

// orEmpty keeps a list that has nothing in it from becoming null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
