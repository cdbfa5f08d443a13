package s3

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"dredge/consumer/s3/s3test"
	"dredge/internal/retry"
	"dredge/stream"
)

// logFile is a file of lines with a header, and the lines.
func logFile(name string, n int) (text []byte, lines []string) {
	var b bytes.Buffer
	b.WriteString("version account-id srcaddr\n")
	for i := range n {
		line := fmt.Sprintf("2 %s %d", name, i)
		lines = append(lines, line)
		b.WriteString(line)
		if i < n-1 {
			b.WriteByte('\n') // the last line may lack its end
		}
	}
	return b.Bytes(), lines
}

// B3: one worker per mouthful. 20 workers, 1,000 mouthfuls: each is completed once; one worker is killed, and its mouthful is tried again.
func TestB3OneWorkerPerMouthful(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Work.Slots = 1 })
		s, k := newStore(), newTaker()
		var want []string
		for i := range 1000 {
			name := fmt.Sprintf("f%04d.log", i)
			text, lines := logFile(name, 3)
			s.files[name] = text
			want = append(want, lines...)
		}
		r.form(s, 1)

		// The first worker is killed with a mouthful in its hands: it never answers again.
		ctx, die := context.WithCancel(t.Context())
		hung := newTaker()
		hung.hold = func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }
		dead := &killer{die: die}
		first := r.worker(dead, s, hung)
		ended := make(chan struct{})
		go func() { defer close(ended); _ = first.Run(ctx) }()
		r.wait(time.Minute, "the first worker has a mouthful", func() bool { return first.Busy() == 1 })
		synctest.Wait()
		dead.end()
		die()
		<-ended

		var stops []func()
		workers := make([]*Worker, 20)
		for i := range workers {
			workers[i] = r.worker(nil, s, k)
			stops = append(stops, start(t, workers[i].Run))
		}
		r.wait(time.Hour, "all mouthfuls read", r.drained("mouthfuls"))
		done, tried := 0.0, 0
		for i, stop := range stops {
			stop()
			done += testutil.ToFloat64(workers[i].m.mouthfuls)
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, k.delivered()); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
		if n := k.twice(); n != 0 {
			t.Errorf("%d rows were delivered twice", n)
		}
		if done != 1000 {
			t.Errorf("%v mouthfuls were completed", done)
		}
		for _, m := range r.mouthfuls() {
			if m.State != StateDone {
				t.Errorf("%s is %s", m.ID, m.State)
			}
			if m.tries == 2 {
				tried++
			}
		}
		if tried != 1 {
			t.Errorf("%d mouthfuls were claimed twice, want that of the worker that was killed", tried)
		}
	})
}

// B4: a poison file. A corrupt object in a mouthful: the others land, the file is quarantined after N tries with its reason.
func TestB4PoisonFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Work.MaxTries = 3 })
		s, k := newStore(), newTaker()
		var want []string
		for i := range 5 {
			name := fmt.Sprintf("f%d.log.gz", i)
			text, lines := logFile(name, 20_000)
			s.files[name] = s3test.Gzip(text)
			if i == 2 {
				s.files[name] = s.files[name][:len(s.files[name])*3/4]
				continue
			}
			want = append(want, lines...)
		}
		r.form(s, 5)
		w := r.worker(nil, s, k)
		stop := start(t, w.Run)
		r.wait(time.Hour, "the mouthful read", r.drained("mouthfuls"))
		stop()
		var good, poison []string
		for _, line := range k.delivered() {
			if strings.Contains(line, "f2.log.gz") {
				poison = append(poison, line)
			} else {
				good = append(good, line)
			}
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, good); diff != "" {
			t.Errorf("lines of the neighbours (-want +got):\n%s", diff)
		}
		// What came before the fault landed, once although it was tried three times.
		if len(poison) == 0 || len(poison) >= 20_000 || k.twice() != 0 {
			t.Errorf("%d lines of the broken file, %d rows delivered twice", len(poison), k.twice())
		}
		if f, q := testutil.ToFloat64(w.m.faults[fileCorrupt]), testutil.ToFloat64(w.m.quarantined[fileCorrupt]); f != 3 || q != 1 {
			t.Errorf("%v tries failed, %v files quarantined", f, q)
		}
		if got := r.reasons(); !cmp.Equal(got, map[string]string{"s3://flows/f2.log.gz#e": fileCorrupt}) {
			t.Errorf("reasons in the ledger: %v", got)
		}
	})
}

// reasons are those that the ledger has for files.
func (r *rig) reasons() map[string]string {
	r.t.Helper()
	out := map[string]string{}
	for _, it := range r.items() {
		if id, ok := strings.CutPrefix(textOf(it, attrID), filePrefix); ok && textOf(it, attrReason) != "" {
			out[id] = textOf(it, attrReason)
		}
	}
	return out
}

func TestWhyAFileIsNotRead(t *testing.T) {
	refusals := map[string]error{
		fileMissing:  &smithy.GenericAPIError{Code: "NoSuchKey"},
		fileReplaced: &smithy.GenericAPIError{Code: "PreconditionFailed"},
		fileArchived: &smithy.GenericAPIError{Code: "InvalidObjectState", Message: "The operation is not valid for the object's storage class"},
		fileDenied:   &smithy.GenericAPIError{Code: "AccessDenied", Message: "Access Denied"},
		fileKMS:      &smithy.GenericAPIError{Code: "AccessDenied", Message: "User: x is not authorized to perform: kms:Decrypt on resource y"},
		fileNoBucket: &smithy.GenericAPIError{Code: "NoSuchBucket"},
		fileFailed:   &smithy.GenericAPIError{Code: "InternalError"},
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Work.MaxTries = 2 })
		s, k := newStore(), newTaker()
		want := map[string]string{}
		for reason, err := range refusals {
			s.files[reason+".log"], _ = logFile(reason, 2)
			s.refuse[reason+".log"] = err
			want["s3://flows/"+reason+".log#e"] = reason
		}
		s.files["layout.parquet"] = parquetOf(t, []struct {
			Other int64 `parquet:"other"`
		}{{1}})
		s.files["corrupt.parquet"] = []byte("PAR1 and nothing else PAR1")
		s.files["good.log"], _ = logFile("good", 2)
		want["s3://flows/layout.parquet#e"] = fileLayout
		want["s3://flows/corrupt.parquet#e"] = fileCorrupt
		r.form(s, 100)
		stop := start(t, r.worker(nil, s, k).Run)
		r.wait(time.Hour, "the mouthful read", r.drained("mouthfuls"))
		stop()
		if diff := cmp.Diff(want, r.reasons()); diff != "" {
			t.Errorf("reasons (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"2 good 0", "2 good 1"}, k.delivered()); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
	})
}

// A file is read as lines whatever it is compressed with, and a connection that breaks is no fault of the file.
func TestCompressedFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		s, k := newStore(), newTaker()
		var want []string
		for _, name := range []string{"plain.log", "a.log.gz", "two.log.gz", "b.zst", "breaks.log.gz"} {
			text, lines := logFile(name, 1000)
			want = append(want, lines...)
			switch name {
			case "plain.log":
				s.files[name] = text
			case "two.log.gz":
				s.files[name] = append(s3test.Gzip(text[:5000]), s3test.Gzip(text[5000:])...)
			case "b.zst":
				z, err := zstd.NewWriter(nil)
				if err != nil {
					t.Fatal(err)
				}
				s.files[name] = z.EncodeAll(text, nil)
				_ = z.Close()
			default:
				s.files[name] = s3test.Gzip(text)
			}
		}
		s.cutOff["breaks.log.gz"] = 500
		r.form(s, 100)
		w := r.worker(nil, s, k)
		stop := start(t, w.Run)
		r.wait(time.Minute, "the break", func() bool { return testutil.ToFloat64(w.m.faults[fileFailed]) == 1 })
		s.mu.Lock()
		delete(s.cutOff, "breaks.log.gz")
		s.mu.Unlock()
		r.wait(time.Hour, "the mouthful read", r.drained("mouthfuls"))
		stop()
		slices.Sort(want)
		if diff := cmp.Diff(want, k.delivered()); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
		if len(r.reasons()) != 0 {
			t.Errorf("quarantined: %v", r.reasons())
		}
	})
}

// Odd files: what is in a file decides how it is read, not its name, and what holds no rows is read to its end.
func TestOddFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		s, k := newStore(), newTaker()
		var want []string
		put := func(name string, data func(text []byte) []byte) {
			text, lines := logFile(strings.Map(func(c rune) rune {
				if c <= ' ' {
					return '_'
				}
				return c
			}, name), 3)
			s.files[name] = data(text)
			want = append(want, lines...)
		}
		same := func(text []byte) []byte { return text }
		put("plain.log.gz", same)
		put("text.parquet", same)
		put("gzip.parquet", s3test.Gzip)
		put("a+b ü 100%.log", same)
		put("returns.log", func(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")) })
		put("members.log.gz", func(text []byte) []byte {
			return append(append(s3test.Gzip(text[:40]), s3test.Gzip(nil)...), s3test.Gzip(text[40:])...)
		})
		s.files["nothing.log.gz"] = s3test.Gzip(nil)
		s.files["header.log.gz"] = s3test.Gzip([]byte("version account-id srcaddr\n"))
		s.files["rowless.parquet"] = parquetOf(t, []flowRow{})
		s.files["columns.log.gz"] = flowParquet(t, 1, 1)
		want = append(want, "2 123456789012 10.0.0.1 - 1700000000")
		s.files["cut.parquet"] = flowParquet(t, 10, 10)
		s.files["cut.parquet"] = s.files["cut.parquet"][:100]
		s.files["cut.log.gz"] = s.files["cut.parquet"]
		r.form(s, 100)
		w := r.worker(nil, s, k)
		stop := start(t, w.Run)
		r.wait(time.Hour, "the mouthful read", r.drained("mouthfuls"))
		stop()
		slices.Sort(want)
		if diff := cmp.Diff(want, k.delivered()); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]string{"s3://flows/cut.parquet#e": fileCorrupt, "s3://flows/cut.log.gz#e": fileCorrupt}, r.reasons()); diff != "" {
			t.Errorf("reasons (-want +got):\n%s", diff)
		}
	})
}

// A mouthful that takes long stays its worker's, and one that is drained goes on where it was.
func TestLongMouthfulAndDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Work.Visibility, c.Work.Files = 30*time.Second, 1 })
		s, k := newStore(), newTaker()
		text, want := logFile("long", 300_000) // several pieces
		s.files["long.log.gz"] = s3test.Gzip(text)
		r.form(s, 1)
		k.hold = func(ctx context.Context, _ string) error { return retry.Sleep(ctx, 2*time.Minute) }
		first, second := r.worker(nil, s, k), r.worker(nil, s, k)
		stopFirst, stopSecond := start(t, first.Run), start(t, second.Run)
		<-time.After(5 * time.Minute)
		if first.Busy()+second.Busy() != 1 || testutil.ToFloat64(first.m.contended)+testutil.ToFloat64(second.m.contended) != 0 {
			t.Errorf("%d and %d mouthfuls are read", first.Busy(), second.Busy())
		}
		if first.Busy() == 1 {
			stopFirst()
		} else {
			stopSecond()
		}
		k.mu.Lock()
		k.hold = nil
		k.mu.Unlock()
		r.wait(time.Minute, "the mouthful read", r.drained("mouthfuls"))
		stopFirst()
		stopSecond()
		slices.Sort(want)
		if !slices.Equal(want, k.delivered()) {
			t.Error("lines differ")
		}
		if n := k.twice(); n != 0 {
			t.Errorf("%d rows were delivered twice", n)
		}
	})
}

// The ids of rows are those of the file and the place in it, whichever mouthful it comes in and wherever reading began.
func TestRowsHaveTheSameIDsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		s := newStore()
		text, _ := logFile("a", 200_000)
		s.files["a.log.gz"] = s3test.Gzip(text)
		s.files["a.parquet"] = flowParquet(t, 10_000, 3000)
		for key := range s.files {
			o := Object{Bucket: "flows", Key: key, ETag: "e"}
			whole, rest := newTaker(), newTaker()
			if _, err := r.worker(nil, s, whole).readFile(t.Context(), o, 0); err != nil {
				t.Fatal(err)
			}
			// The sink says where it stands: at the end of the first piece.
			at := firstPiece(whole)
			rest.stands[o.ID()] = at
			if _, err := r.worker(nil, s, rest).readFile(t.Context(), o, 0); err != nil {
				t.Fatal(err)
			}
			if len(rest.rows) == 0 || len(rest.rows) >= len(whole.rows) {
				t.Errorf("%s: %d rows after %s of %d", key, len(rest.rows), at, len(whole.rows))
			}
			for id, line := range rest.lines {
				if whole.lines[id] != line {
					t.Fatalf("%s: row %s is %q, was %q", key, id, line, whole.lines[id])
				}
			}
		}
	})
}

// firstPiece is the first position of a piece in what was delivered.
func firstPiece(k *taker) stream.Position {
	var all []int
	for id := range k.rows {
		at, err := strconv.Atoi(strings.Fields(id)[1])
		if err != nil {
			panic(err) // the id is this file's own
		}
		all = append(all, at)
	}
	return stream.Position(fmt.Sprint(slices.Min(all)))
}

// A worker that is killed at any of its requests loses nothing, and another finishes its work.
func TestWorkerKilledBetweenEveryTwoSteps(t *testing.T) {
	killEverywhere(t, 4, func(t *testing.T, kill *killer) {
		r := newRig(t, nil)
		s, k := newStore(), newTaker()
		var want []string
		for i := range 6 {
			name := fmt.Sprintf("f%d.log", i)
			text, lines := logFile(name, 3)
			s.files[name] = text
			want = append(want, lines...)
		}
		r.form(s, 3)
		kill.live(t, r.worker(kill, s, k).Run)
		stop := start(t, r.worker(nil, s, k).Run)
		r.wait(time.Hour, "all mouthfuls read", r.drained("mouthfuls"))
		stop()
		slices.Sort(want)
		if diff := cmp.Diff(want, k.delivered()); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
		for _, m := range r.mouthfuls() {
			if m.State != StateDone {
				t.Errorf("%s is %s", m.ID, m.State)
			}
		}
	})
}
