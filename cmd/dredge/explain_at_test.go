package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dredge/consumer/kinesis/kpl"
)

// traced is what a test reads of `dredge explain --json`.
type traced struct {
	Place    *placeStep
	Delivery *deliveryStep
	Fields   map[string]any
	NoRow    string `json:"no_row"`
	Row      map[string]any
	Source   struct {
		App     string
		Tenures []tenureStep
		Grade   step
	}
}

// TestM4TraceOneRecord: shard and sequence number of a record lead to everything about it: its lines decoded, who had the addresses with times and evidence, the row with the very id
// that stands in the sink, and whether the sink has acknowledged it. Before the worker has read it, the same command says that it was not.
func TestM4TraceOneRecord(t *testing.T) {
	c, srv := testConfig(t)
	start := time.Now().Add(-10 * time.Minute).Truncate(time.Second)
	events := fmt.Sprintf(`{"v":1,"op":"assign","src":"inventory","from":%d,"scope":"vpc-0a1b","ip":"172.31.16.139","primary":true,"owner":"eni:eni-1235b8ca123456789","ep":{"kind":"instance"},"wl":{"app":"bastion"}}
{"v":1,"op":"progress","src":"inventory","to":%d}
`, start.Add(-time.Hour).UnixMilli(), time.Now().UnixMilli())
	if err := os.WriteFile(c.Identity.File.Path, []byte(events), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Pipeline.Hold = 0
	c.Pipeline.Formats.Default = "default"
	line := func(port int) string {
		return fmt.Sprintf("2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 %d 22 6 20 4249 %d %d ACCEPT OK\n", port, start.Unix(), start.Unix()+60)
	}
	shard, sequence, err := srv.Kinesis().Put("flows", "a", []byte(line(40000)+"no flow log\n"+line(40001)))
	if err != nil {
		t.Fatal(err)
	}
	aggregate := kpl.Append(nil, kpl.UserRecord{PartitionKey: []byte("a"), Data: []byte(line(40002))}, kpl.UserRecord{PartitionKey: []byte("a"), Data: []byte(line(40003))})
	aggregateShard, aggregateSequence, err := srv.Kinesis().Put("flows", "a", aggregate)
	if err != nil {
		t.Fatal(err)
	}
	var yaml bytes.Buffer
	if err := c.WriteYAML(&yaml); err != nil {
		t.Fatal(err)
	}
	o := explainOptions{config: write(t, "dredge.yaml", yaml.String()), at: shard + ":" + sequence, json: true}
	trace := func(o explainOptions) (list []traced) {
		t.Helper()
		var out, errOut bytes.Buffer
		if err := runExplain(t.Context(), o, nil, nil, &out, &errOut); err != nil && !strings.Contains(out.String(), "cannot be decoded") {
			t.Fatalf("%v\n%s", err, errOut.String())
		}
		dec := json.NewDecoder(&out)
		for {
			var x traced
			if err := dec.Decode(&x); err == io.EOF {
				return list
			} else if err != nil {
				t.Fatal(err)
			}
			list = append(list, x)
		}
	}
	for _, x := range trace(o) {
		if x.Delivery == nil || x.Delivery.Acknowledged != nil {
			t.Errorf("before a worker ran: %+v", x.Delivery)
		}
	}

	svc := testService(t, c)
	_, stop := serve(t, svc)
	awaitDelivered(t, svc, 4)
	stop() // the drain checkpoints what was acknowledged
	inSink := map[any]map[string]any{}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(c.Sink.File.Path), "rows*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		for _, r := range objects(t, path) {
			inSink[r["row_id"]] = r
		}
	}

	list := trace(o)
	if len(list) != 3 {
		t.Fatalf("%d lines were traced, the record has 3", len(list))
	}
	for i, x := range list {
		if x.Place.Partition != shard || x.Place.Position != sequence || int(x.Place.Index) != i {
			t.Errorf("place of line %d: %+v", i, x.Place)
		}
		if x.Delivery.Acknowledged == nil || !*x.Delivery.Acknowledged || x.Delivery.Checkpoint == "" {
			t.Errorf("delivery of line %d: %+v", i, x.Delivery)
		}
		if i == 1 {
			if !strings.Contains(x.NoRow, "cannot be decoded") {
				t.Errorf("line 1: %+v", x)
			}
			continue
		}
		if x.Fields["srcport"] != float64(40000+i/2) || x.Source.App != "bastion" || len(x.Source.Tenures) == 0 || x.Source.Tenures[0].Evidence == "" || x.Source.Grade.Why == "" {
			t.Errorf("line %d: %+v", i, x)
		}
		if stored := inSink[x.Row["row_id"]]; stored == nil || stored["src_port"] != x.Row["src_port"] || stored["src_app"] != "bastion" {
			t.Errorf("line %d: row %v is not the sink's %v", i, x.Row, stored)
		}
	}

	// One line of it; and a user record of an aggregate.
	o.index, o.indexed = 2, true
	if one := trace(o); len(one) != 1 || one[0].Place.Index != 2 {
		t.Errorf("--index 2: %+v", one)
	}
	o.index, o.indexed, o.at = 0, false, aggregateShard+":"+aggregateSequence+":1"
	if one := trace(o); len(one) != 1 || one[0].Fields["srcport"] != 40003.0 || inSink[one[0].Row["row_id"]] == nil {
		t.Errorf("the second record of the aggregate: %+v", one)
	}
	o.at = aggregateShard + ":" + aggregateSequence
	if both := trace(o); len(both) != 2 {
		t.Errorf("%d lines of the whole aggregate", len(both))
	}
}

// awaitDelivered waits until the books say that n lines are delivered.
func awaitDelivered(t *testing.T, svc *service, n int64) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for svc.core.pipeline.Books().Snapshot().Delivered < n {
		select {
		case <-deadline:
			t.Fatalf("books: %+v", svc.core.pipeline.Books().Snapshot())
		case <-tick.C:
		}
	}
}

func TestExplainAtSaysWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"shard-1:5":                             "names no shard",
		"shardId-000000000001":                  "has no sequence number",
		"shardId-000000000001:LATEST":           "has a sequence number that is none",
		"shardId-000000000001:12x":              "has a sequence number that is none",
		"shardId-000000000001:12:x":             "has a sub-sequence number that is none",
		"1:flows:1700:shardId-000000000001:12x": "has a sequence number that is none",
	} {
		if _, err := parseStreamPlace(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v does not say %q", text, err, want)
		}
	}
	p, err := parseStreamPlace("123456789012:flows:1700:shardId-000000000001:4950:3")
	if err != nil || p.key != "123456789012:flows:1700:shardId-000000000001" || p.shard() != "shardId-000000000001" || p.at.Position() != "4950:3" {
		t.Errorf("%+v, %v", p, err)
	}
	for _, o := range []explainOptions{{at: "shardId-1:5"}, {at: "shardId-1:5", config: "x", partition: "y"}} {
		if err := runExplain(t.Context(), o, nil, nil, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "--at") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
