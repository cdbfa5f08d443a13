package kafka

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What was sent is what was committed, by the hour of its flows; aborted rows and those of other hours are none of it.
func TestSentRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, cluster := newCluster(t, kfake.SeedTopics(3, topic), kfake.SeedTopics(2, "minutes"), kfake.SeedTopics(1, "late"))
		defer cluster.Close()
		cfg := testConfig(cluster)
		cfg.MinuteTopic, cfg.LateTopic = "minutes", "late"
		noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		client, err := kgo.NewClient(kgo.SeedBrokers(cfg.Brokers...), kgo.Dialer(net.DialContext), kgo.TransactionalID("sender"))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		send := func(topic string, at time.Time, format string) {
			t.Helper()
			r := &kgo.Record{Topic: topic, Timestamp: at, Value: fmt.Appendf(nil, format, at.UnixMilli())}
			if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		transaction := func(end kgo.TransactionEndTry, at time.Time) {
			t.Helper()
			if err := client.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			for range 5 {
				send(topic, at, `{"time":%d,"src_app":"\"time\":7","bytes":1}`)
			}
			send("late", at, `{"bytes":1,"time":%d}`)
			send("minutes", at, `{"time":%d,"rows_in":5,"bytes":1}`)
			if err := client.EndTransaction(t.Context(), end); err != nil {
				t.Fatal(err)
			}
		}
		transaction(kgo.TryCommit, noon.Add(-5*time.Hour))
		transaction(kgo.TryCommit, noon.Add(59*time.Minute))
		transaction(kgo.TryAbort, noon)
		transaction(kgo.TryCommit, noon.Add(2*time.Minute)) // later, of an earlier flow
		transaction(kgo.TryCommit, noon.Add(time.Hour))
		transaction(kgo.TryCommit, noon.Add(2*time.Hour))
		have, err := SentRows(t.Context(), cfg, zerolog.Nop(), nil, noon, noon.Add(2*time.Hour), kgo.Dialer(net.DialContext))
		if err != nil {
			t.Fatal(err)
		}
		want := map[time.Time]Sent{noon: {Raw: 10, Late: 2, RowsIn: 10}, noon.Add(time.Hour): {Raw: 5, Late: 1, RowsIn: 5}}
		if d := cmp.Diff(want, have); d != "" {
			t.Errorf("-want +have\n%s", d)
		}
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		send(topic, noon, `%d is no row`)
		if err := client.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
		if _, err := SentRows(t.Context(), cfg, zerolog.Nop(), nil, noon, noon.Add(time.Hour), kgo.Dialer(net.DialContext)); err == nil || !strings.Contains(err.Error(), "is no row of ours") {
			t.Errorf("a foreign record: %v", err)
		}
	})
}

func TestIntegerField(t *testing.T) {
	f := func(row string, want int64, ok bool) {
		t.Helper()
		if have, found := integerField([]byte(row), `"time":`); have != want || found != ok {
			t.Errorf("%s: %d, %t; want %d, %t", row, have, found, want, ok)
		}
	}
	f(`{"time":1700000000000}`, 1700000000000, true)
	f(`{"a":"\"time\":1","time":2}`, 2, true)
	f(`{"time":null}`, 0, false)
	f(`{}`, 0, false)
	f(``, 0, false)
}
