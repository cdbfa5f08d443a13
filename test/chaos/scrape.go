package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// scraper keeps the last value of every series of every worker: what a killed one had counted since the last look is missing.
type scraper struct {
	mu   sync.Mutex
	last map[string]map[string]float64 // by worker, by series
	most float64                       // bytes that a worker had in memory
}

var pageURL = regexp.MustCompile(`"url":"(http://[^"]+)/"`)

// look reads the metrics of the workers; one that does not answer at once is left out.
func (s *scraper) look(ctx context.Context, workers []*worker) {
	for _, w := range workers {
		log, err := os.ReadFile(w.log)
		m := pageURL.FindSubmatch(log[:min(len(log), 64<<10)])
		if err != nil || m == nil {
			continue
		}
		values, err := scrape(ctx, string(m[1])+"/metrics")
		if err != nil {
			continue
		}
		s.mu.Lock()
		s.last[w.id] = values
		s.most = max(s.most, values["process_resident_memory_bytes"])
		s.mu.Unlock()
	}
}

func scrape(ctx context.Context, url string) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return series(resp.Body)
}

// series reads the text form of metrics.
func series(r io.Reader) (map[string]float64, error) {
	values := map[string]float64{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, text, ok := strings.Cut(lines.Text(), "} ")
		if ok {
			name += "}"
		} else if name, text, ok = strings.Cut(lines.Text(), " "); !ok {
			continue
		}
		if v, err := strconv.ParseFloat(text, 64); err == nil && !strings.HasPrefix(name, "#") {
			values[name] = v
		}
	}
	return values, lines.Err()
}

// sum adds a series up over all workers.
func (s *scraper) sum(name string) (sum float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, values := range s.last {
		sum += values[name]
	}
	return sum
}

// quantile is an upper bound of the q-quantile of a histogram without labels, over all workers.
func (s *scraper) quantile(name string, q float64) (bound float64, count float64) {
	count = s.sum(name + "_count")
	s.mu.Lock()
	names := map[string]float64{}
	for _, values := range s.last {
		for k := range values {
			if rest, ok := strings.CutPrefix(k, name+`_bucket{le="`); ok {
				if le, err := strconv.ParseFloat(strings.TrimSuffix(rest, `"}`), 64); err == nil {
					names[k] = le
				}
			}
		}
	}
	s.mu.Unlock()
	found := false
	for k, le := range names {
		if s.sum(k) >= q*count && (!found || le < bound) {
			bound, found = le, true
		}
	}
	return bound, count
}
