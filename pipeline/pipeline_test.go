package pipeline

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"dredge/row"
	"dredge/sink"
)

// I2: one control message and three data messages of ten events give exactly thirty rows; the control counter is one.
func TestI2ControlMessagesAreSkipped(t *testing.T) {
	r := newRig(t)
	got := r.run("shard-1", chunk(1,
		message("flows", flowLines(0, 10)...), controlPayload(),
		message("flows", flowLines(10, 10)...), message("flows", flowLines(20, 10)...)))
	if n := len(r.mem.All()); n != 30 {
		t.Errorf("%d rows, want 30", n)
	}
	s := r.p.Books().Snapshot()
	if s.Skipped[SkippedControl] != 1 || s.Lines != 31 || s.Delivered != 30 {
		t.Errorf("books: %+v", s)
	}
	if got.last() != pos(4) {
		t.Errorf("progress reached %q", got.last())
	}
}

// I3: one stream carries two layouts, chosen by log group; both parse and keep their numbers.
func TestI3LayoutIsChosenByLogGroup(t *testing.T) {
	r := newRig(t, func(c *Config, _ *Deps) {
		c.Formats.Rules = append(c.Formats.Rules, ruleFor("v3-*",
			"${version} ${vpc-id} ${subnet-id} ${instance-id} ${interface-id} ${account-id} ${type} ${srcaddr} ${dstaddr} ${srcport} ${dstport} ${pkt-srcaddr} ${pkt-dstaddr} ${protocol} ${bytes} ${packets} ${start} ${end} ${action} ${tcp-flags} ${log-status}"))
	})
	// The second line is the version 3 example of AWS's user guide.
	r.run("shard-1", chunk(1,
		message("v2-flows", "2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK"),
		message("v3-flows", "3 vpc-abcdefab012345678 subnet-aaaaaaaa012345678 i-01234567890123456 eni-1235b8ca123456789 123456789010 IPv4 52.213.180.42 10.0.0.62 43416 5001 52.213.180.42 10.0.0.62 6 568 8 1566848875 1566848933 ACCEPT 2 OK"),
		message("unknown", "3 vpc-abcdefab012345678 subnet-aaaaaaaa012345678 eni-1235b8ca123456789")))
	rows := r.mem.All()
	if len(rows) != 2 {
		t.Fatalf("%d rows, want 2", len(rows))
	}
	type numbers struct {
		srcPort, dstPort            uint16
		bytes, packets, start, stop int64
	}
	of := func(r row.Row) numbers { return numbers{r.Src.Port, r.Dst.Port, r.Bytes, r.Packets, r.Start, r.End} }
	if got, want := of(rows[0].Row), (numbers{20641, 22, 4249, 20, 1418530010000, 1418530070000}); got != want {
		t.Errorf("v2 = %+v, want %+v", got, want)
	}
	if got, want := of(rows[1].Row), (numbers{43416, 5001, 568, 8, 1566848875000, 1566848933000}); got != want {
		t.Errorf("v3 = %+v, want %+v", got, want)
	}
	// The third group has no rule and its lines do not fit the default: counted, explained and dead-lettered, not guessed at.
	if s := r.p.Books().Snapshot(); s.Rejected["field_count"] != 1 {
		t.Errorf("rejected: %v", s.Rejected)
	}
	if l := r.letters.letters(); len(l) != 1 || l[0].At != pos(3) || l[0].Index != 0 || !strings.Contains(l[0].Detail, "4 fields, want 14") {
		t.Errorf("letters: %+v", l)
	}
	groups := r.p.LogGroups()
	if len(groups) != 3 || groups[1].Name != "v2-flows" || groups[1].Lines != 1 || !slices.ContainsFunc(groups[1].Missing, func(m MissingField) bool { return m.Field == "vpc-id" }) {
		t.Errorf("log groups: %+v", groups)
	}
	if slices.ContainsFunc(groups[2].Missing, func(m MissingField) bool { return m.Field == "vpc-id" }) {
		t.Errorf("version 3 has a vpc-id: %+v", groups[2])
	}
	if groups[0].Rejected != 1 {
		t.Errorf("log groups: %+v", groups)
	}
}

// Whoever may write to the stream chooses log groups' names: one that is no text must not stop the metrics, let alone the process.
func TestLogGroupThatIsNoText(t *testing.T) {
	r := newRig(t)
	payload := func(group string) []byte {
		return zip(bytes.Replace(messageJSON("DATA_MESSAGE", "GROUP", flowLine(0)), []byte("GROUP"), []byte(group), 1))
	}
	r.run("shard-1", chunk(1, payload("group\xff"), payload("group\xfe")))
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range families {
		if f.GetName() == "dredge_pipeline_log_group_last_seen_timestamp_seconds" {
			for _, m := range f.GetMetric() {
				names = append(names, m.GetLabel()[0].GetValue())
			}
		}
	}
	if !slices.Equal(names, []string{"group\ufffd"}) {
		t.Errorf("groups %q", names)
	}
}

func TestLinesWithoutALayoutAreRejected(t *testing.T) {
	r := newRig(t, func(c *Config, _ *Deps) { c.Formats.Default = "" })
	r.run("shard-1", chunk(1, message("flows", flowLines(0, 3)...)))
	if s := r.p.Books().Snapshot(); s.Rejected[RejectedNoFormat] != 3 || s.Decoded != 0 {
		t.Errorf("books: %+v", s)
	}
	if l := r.letters.letters(); len(l) != 3 || l[2].Index != 2 || l[2].Reason != RejectedNoFormat {
		t.Errorf("letters: %+v", l)
	}
}

// The header of a file holds for its later parts, too.
func TestHeaderNamesTheLayout(t *testing.T) {
	r := newRig(t)
	got := r.run("file", chunk(1,
		raw("interface-id srcaddr dstaddr bytes start end", "eni-1 10.0.0.1 10.0.0.2 17 1418530010 1418530070"),
		raw("eni-1 10.0.0.3 10.0.0.4 18 1418530010 1418530070")))
	rows := r.mem.All()
	if len(rows) != 2 || rows[0].Row.Bytes != 17 || rows[1].Row.Bytes != 18 || rows[0].Row.Index != 0 || got.last() != pos(2) {
		t.Errorf("rows: %+v, progress %q", rows, got.last())
	}
	if s := r.p.Books().Snapshot(); s.Lines != 2 || s.Delivered != 2 {
		t.Errorf("books: %+v", s)
	}
}

// I5: NODATA and SKIPDATA give no row but are counted.
func TestI5NoDataAndSkipDataAreCounted(t *testing.T) {
	r := newRig(t)
	line := func(status string) string {
		return "2 123456789010 eni-1235b8ca123456789 - - - - - - - 1431280876 1431280934 - " + status
	}
	n, k := line("NODATA"), line("SKIPDATA")
	got := r.run("shard-1", chunk(1, message("flows", n, k, n, n), message("flows", k, n, k, n)))
	s := r.p.Books().Snapshot()
	if len(r.mem.All()) != 0 || s.Skipped[SkippedNoData] != 5 || s.Skipped[SkippedSkipData] != 3 || s.Decoded != 0 {
		t.Errorf("%d rows, books: %+v", len(r.mem.All()), s)
	}
	if got.last() != pos(2) {
		t.Errorf("progress reached %q: a chunk without rows must be passed", got.last())
	}
}

// I6: what is broken costs none of its neighbours, stands in the dead letter with shard, sequence and index, and is passed.
func TestI6BadInputNeverStopsAShard(t *testing.T) {
	whole := message("flows", flowLines(0, 100)...)
	long := strings.Repeat("x", 1<<20)
	r := newRig(t)
	got := r.run("shard-1", chunk(1,
		message("flows", flowLines(0, 10)...),
		whole[:len(whole)/2],
		zip([]byte(`{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"flows","logStream":"s","logEvents":[{"id":`)),
		message("flows", flowLine(10), "2 123456789010 eni-1 10.0.0.1 10.0.0.2 1 2", flowLine(11)),
		message("flows", flowLine(12), long, flowLine(13)),
		message("flows", flowLines(14, 10)...)))

	if got.last() != pos(6) || len(got.failures()) > 0 {
		t.Errorf("progress reached %q, errors %v", got.last(), got.failures())
	}
	seen := map[string]bool{}
	for _, s := range r.mem.All() {
		seen[s.ID().String()] = true
	}
	for _, want := range []string{"1/0", "1/9", "4/0", "4/2", "5/0", "5/2", "6/0", "6/9"} {
		p, index, _ := strings.Cut(want, "/")
		if id := fmt.Sprintf("shard-1/%08s/%s", p, index); !seen[id] {
			t.Errorf("row %s is missing", id)
		}
	}
	letters := r.letters.letters()
	at := func(l sink.Letter) string { return fmt.Sprintf("%s %s %d", l.Partition, l.At, l.Index) }
	slices.SortFunc(letters, func(a, b sink.Letter) int { return cmp.Compare(at(a), at(b)) })
	var where []string
	for _, l := range letters {
		where = append(where, at(l))
		if l.Reason == "" || l.Detail == "" || l.Size == 0 || len(l.Data) == 0 {
			t.Errorf("letter %s: reason %q, detail %q, size %d, %d bytes", at(l), l.Reason, l.Detail, l.Size, len(l.Data))
		}
	}
	want := []string{"shard-1 00000002 -1", "shard-1 00000003 -1", "shard-1 00000004 1", "shard-1 00000005 1"}
	if !slices.Equal(where, want) {
		t.Errorf("letters at %q, want %q", where, want)
	}
	if !bytes.Equal(letters[0].Data, whole[:len(whole)/2]) {
		t.Error("the truncated payload is not in its letter as it came")
	}
	s := r.p.Books().Snapshot()
	if s.Rejected["field_count"] != 1 || sum(s.Rejected) != 2 || s.Payloads["ok"] != 4 || sum(s.Payloads) != 6 {
		t.Errorf("rejected %v, payloads %v", s.Rejected, s.Payloads)
	}
	if rejects := r.p.Rejects(); len(rejects) != 4 || rejects[0].At != pos(5) || rejects[3].Index != -1 {
		t.Errorf("rejects for the page: %+v", rejects)
	}
}

// O2: sums over any dimension equal the raw input's.
func TestO2SumsEqualInput(t *testing.T) {
	r := newRig(t)
	want := map[string]int64{}
	var payloads [][]byte
	n := 0
	for p := range 7 {
		var lines []string
		for range 400 * (p + 1) {
			src, dst := fmt.Sprintf("10.0.%d.%d", n%3, n%7), fmt.Sprintf("10.1.0.%d", n%5)
			lines = append(lines, fmt.Sprintf("2 123456789010 eni-%d %s %s %d 443 6 %d %d 1418530010 1418530070 ACCEPT OK", n%4, src, dst, 1024+n%11, n%9, n))
			for _, k := range []string{"all", "src " + src, "dst " + dst, fmt.Sprintf("eni eni-%d", n%4), fmt.Sprintf("port %d", 1024+n%11)} {
				want[k+" bytes"] += int64(n)
				want[k+" packets"] += int64(n % 9)
				want[k+" flows"]++
			}
			n++
		}
		payloads = append(payloads, message("flows", lines...))
	}
	r.run("shard-1", chunk(1, payloads[:4]...), chunk(5, payloads[4:]...))
	got := map[string]int64{}
	for _, s := range r.mem.All() {
		x := s.Row
		for _, k := range []string{"all", "src " + x.Src.Addr.String(), "dst " + x.Dst.Addr.String(), "eni " + x.InterfaceID, fmt.Sprintf("port %d", x.Src.Port)} {
			got[k+" bytes"] += x.Bytes
			got[k+" packets"] += x.Packets
			got[k+" flows"]++
		}
	}
	for _, k := range sorted(want) {
		if got[k] != want[k] {
			t.Errorf("%s = %d, want %d", k, got[k], want[k])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d sums, want %d", len(got), len(want))
	}
	sum := r.p.Summary()
	if sum.Rows != int64(n) || len(sum.Edges) != 1 || sum.Edges[0].Bytes != want["all bytes"] || sum.SrcGrades["confirmed"] != int64(n) {
		t.Errorf("summary: %+v", sum)
	}
}

func TestDroppedRowsAreInTheBooks(t *testing.T) {
	r := newRig(t)
	dropped := strings.Replace(flowLine(1), " 20641 ", " 9 ", 1)
	got := r.run("shard-1", chunk(1, message("flows", flowLine(0), dropped, flowLine(2)), message("flows", dropped, dropped)))
	s := r.p.Books().Snapshot()
	if s.Dropped[DroppedByEnricher] != 3 || s.Delivered != 2 || got.last() != pos(2) {
		t.Errorf("books: %+v, progress %q", s, got.last())
	}
}

func TestEmptyChunkMovesOn(t *testing.T) {
	r := newRig(t)
	c := chunk(1)
	c.Last = pos(9)
	if got := r.run("shard-1", chunk(1, message("flows", flowLine(0))), c); got.last() != pos(9) {
		t.Errorf("progress reached %q", got.last())
	}
	// Last may lie beyond the last payload.
	c = chunk(10, message("flows", flowLine(0)))
	c.Last = pos(15)
	if got := r.run("shard-2", c); got.last() != pos(15) {
		t.Errorf("progress reached %q", got.last())
	}
}

func TestMetricsAreWellFormed(t *testing.T) {
	r := newRig(t)
	r.run("shard-1", chunk(1, message("flows", flowLine(0), "rubbish"), controlPayload()))
	problems, err := testutil.GatherAndLint(r.reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if n, err := testutil.GatherAndCount(r.reg, "dredge_pipeline_lines_total", "dredge_pipeline_ends_total", "dredge_pipeline_budget_held_bytes"); err != nil || n != 1+2+3 {
		t.Errorf("%d series, %v", n, err)
	}
	if n, err := testutil.GatherAndCount(r.reg, "dredge_pipeline_log_group_last_seen_timestamp_seconds"); err != nil || n != 1 {
		t.Errorf("%d log groups, %v", n, err)
	}
}

func TestRejectsAreSampled(t *testing.T) {
	r := newRig(t)
	rubbish := make([]string, 5000)
	for i := range rubbish {
		rubbish[i] = "rubbish"
	}
	r.run("shard-1", chunk(1, message("flows", rubbish...)))
	if n := len(r.p.Rejects()); n > keptRejects || n < rejectsPerSecond {
		t.Errorf("%d rejects kept", n)
	}
	if n := strings.Count(r.logged.b.String(), "input rejected"); n < 1 || n > 10 {
		t.Errorf("%d log lines", n)
	}
	if testutil.ToFloat64(r.p.metrics.swallowedLogs) == 0 {
		t.Error("swallowed log lines are not counted")
	}
	if n := len(r.letters.letters()); n != 5000 {
		t.Errorf("%d letters, want every rejected line", n)
	}
}
