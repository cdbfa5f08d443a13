package main

import (
	"encoding/json"
	"net/http"
)

// serveScale answers what an autoscaler asks: how many workers the stream deserves. One worker serves many shards; the number
// never exceeds the shards that are left to read.
func (s *service) serveScale(w http.ResponseWriter, _ *http.Request) {
	st := s.worker.Status()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{ // the client went away; there is nobody to tell
		"shards":         st.Unfinished,
		"workers":        len(st.Workers),
		"owned":          st.Owned,
		"target":         st.Target,
		"behind_seconds": st.Behind.Seconds(),
	})
}
