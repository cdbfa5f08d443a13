package awscall

import (
	"maps"
	"slices"
	"sync"

	"github.com/rs/zerolog"
)

// Faults are the parts of a source's work that fail at present. The zero value has none; it is safe for concurrent use.
type Faults struct {
	mu    sync.Mutex
	texts map[string]string // by part
}

// Note takes in how a part went, nil for well, and logs it when that is not what it was before.
func (f *Faults) Note(log zerolog.Logger, part string, err error) {
	text := ""
	if err != nil {
		text = StableText(err)
	}
	f.mu.Lock()
	was := f.texts[part]
	if f.texts == nil {
		f.texts = map[string]string{}
	}
	if f.texts[part] = text; text == "" {
		delete(f.texts, part)
	}
	f.mu.Unlock()
	switch text {
	case was:
	case "":
		log.Info().Str("what", part).Msg("reading AWS works again")
	default:
		log.Error().Str("what", part).Str("fault", text).Msg("reading AWS fails, trying again")
	}
}

// Has says whether a part fails.
func (f *Faults) Has(part string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.texts[part] != ""
}

// List names what fails and why, in order, each with prefix in front.
func (f *Faults) List(prefix string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, part := range slices.Sorted(maps.Keys(f.texts)) {
		out = append(out, prefix+part+": "+f.texts[part])
	}
	return out
}
