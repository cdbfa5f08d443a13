package columns

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"dredge/consumer/s3/s3test"
)

// BenchmarkFile reads 50,000 rows of the default format as AWS writes them: optional columns compressed with gzip.
func BenchmarkFile(b *testing.B) {
	const rows = 50_000
	random := rand.New(rand.NewPCG(1, 1))
	var text bytes.Buffer
	fmt.Fprintln(&text, "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status")
	for range rows {
		at := 1_760_000_000 + random.IntN(300)
		fmt.Fprintf(&text, "2 123456789012 eni-%017x 10.%d.%d.%d 10.0.%d.%d %d 443 6 %d %d %d %d ACCEPT OK\n", random.IntN(200), random.IntN(4), random.IntN(256), random.IntN(256),
			random.IntN(16), random.IntN(256), 1024+random.IntN(60000), 1+random.IntN(50), 40+random.IntN(100_000), at, at+59)
	}
	data, err := s3test.Parquet(text.Bytes())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		f, err := Open(bytes.NewReader(data), int64(len(data)), 0)
		if err != nil {
			b.Fatal(err)
		}
		n := int64(0)
		for {
			p, err := f.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			n = p.End
		}
		if err := f.Close(); err != nil || n != rows {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
}
