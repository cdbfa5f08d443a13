package main

import (
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dredge/enrich"
	"dredge/flowlog"
	"dredge/flowlog/envelope"
	"dredge/metadata"
	"dredge/row"
)

var joinAddresses = flag.Int("join-addresses", 1<<20, "addresses in BenchmarkJoin, with four owners each")

// BenchmarkJoin is the join of both ends alone: Records to Rows, 2,000 at a time, with the published identity of a million
// addresses that had four owners each. p5-ns/flow is the twentieth part of the batches that the rest of the machine disturbed least.
//
//	go test ./test/bench -run '^$' -bench Join -cpu 1
func BenchmarkJoin(b *testing.B) {
	const payloads, linesPerPayload, perBatch = 400, 500, 4
	end := time.Now().Add(-time.Hour).Truncate(time.Hour).Unix()
	o := options{end: end, lines: payloads * linesPerPayload, addresses: *joinAddresses}
	bulk, err := workload(o, "one") // identity is the same in all mixes
	if err != nil {
		b.Fatal(err)
	}
	identity := pathStore(b, bulk)
	join, err := enrich.New(enrich.Config{NamingGrades: metadata.DefaultGrades}, enrich.Deps{Resolver: identity, Registerer: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	for _, mix := range []string{"one", "random"} {
		b.Run("mix="+mix, func(b *testing.B) {
			bulk, err := workload(o, mix)
			if err != nil {
				b.Fatal(err)
			}
			var batches [payloads / perBatch]flowlog.Batch
			reader, decoder, n := envelope.NewReader(0, 0), flowlog.NewDecoder(), 0
			for payload := range bulk.All() {
				in := &batches[n/perBatch]
				in.Origins = append(in.Origins, flowlog.Origin{Arrived: time.Now()})
				reader.Reset(payload.Data)
				for k := uint32(0); reader.Next(); k++ {
					if reason := decoder.Append(in, nil, reader.Line(), uint32(len(in.Origins)-1), k); reason != flowlog.ReasonNone {
						b.Fatal(reason)
					}
				}
				n++
			}
			var out row.Batch
			rows := 0
			do := func(i int) {
				out.Reset()
				join.Enrich(&batches[i%len(batches)], &out)
				rows += len(out.Rows)
			}
			for i := range batches {
				do(i)
			}
			if rows != o.lines {
				b.Fatalf("%d rows of %d lines", rows, o.lines)
			}
			const flows = perBatch * linesPerPayload
			took := make([]float64, 0, 1<<16)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				start := time.Now()
				do(i)
				took = append(took, float64(time.Since(start).Nanoseconds())/flows)
			}
			slices.Sort(took)
			b.ReportMetric(took[len(took)/20], "p5-ns/flow")
			b.ReportMetric(took[len(took)/2], "median-ns/flow")
		})
	}
}
