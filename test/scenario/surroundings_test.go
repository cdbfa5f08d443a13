package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"dredge/internal/awsfake"
	identityfile "dredge/metadata/file"
	"dredge/row"
	"dredge/row/encode"
	"dredge/sink/file"
)

// A sink that cannot be written says so when it is checked, and in a clear word. A worker that is started all the same delivers
// nothing, checkpoints nothing and loses nothing: once the fault is mended, everything lands once.
func TestUnwritableSink(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	inBubble(t, 1, awsfake.Config{}, func(r *rig) {
		encoder, err := encode.NewJSON(row.DefaultConfig().Columns(row.Raw))
		if err != nil {
			t.Fatal(err)
		}
		cfg := file.DefaultConfig()
		cfg.Path = filepath.Join(dir, "rows.jsonl")
		// Each process has a sink of its own.
		start := func(id string) (*worker, *file.Sink) {
			out, err := file.New(cfg, file.Deps{Encoder: encoder, Registry: prometheus.NewRegistry()})
			if err != nil {
				t.Fatal(err)
			}
			r.sink = out
			return r.start(id), out
		}
		finish := func(w *worker, out *file.Sink) {
			w.stop()
			if err := out.Close(); err != nil {
				t.Error(err)
			}
		}
		shard, _ := r.put("key", r.message("flows", lines(0, 5)...))

		w, out := start("dredge-a")
		if err := out.Check(t.Context()); err == nil || !strings.Contains(err.Error(), cfg.Path) || !strings.Contains(err.Error(), "create the directory") {
			t.Errorf("Check = %v; it should name the path and say what to do", err)
		}
		r.wait(time.Minute)
		if at := r.leases()[shard].checkpoint; at.IsSequence() {
			t.Errorf("the checkpoint moved to %s although nothing could be written", at)
		}
		if b := w.pipeline.Books().Snapshot(); b.Delivered != 0 || len(r.letters.letters()) != 0 {
			t.Errorf("books %+v, %d dead letters; a refusal delivers nothing and dead-letters nothing", b, len(r.letters.letters()))
		}
		finish(w, out)

		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		_, last := r.put("key", r.message("flows", lines(5, 5)...))
		w, out = start("dredge-b")
		r.await("the checkpoint passes everything", time.Minute, func() bool { return r.leases()[shard].checkpoint.Sequence == last })
		finish(w, out)
		text, err := os.ReadFile(cfg.Path)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), "\n"); n != 10 {
			t.Errorf("%d rows in the file, want 10", n)
		}
	})
}

// An identity file that is missing, then half written, then whole. Rows land all the while, at the latest when the hold is over, with as
// many names as are known for certain; a torn line names nobody and is taken once it is complete.
func TestIdentityFileComesLate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity.jsonl")
	inBubble(t, 1, awsfake.Config{}, func(r *rig) {
		w := r.start("dredge-a")
		cfg := identityfile.DefaultConfig()
		cfg.Path = path
		src, err := identityfile.New(cfg, identityfile.Dependencies{Target: w.identity, Logger: zerolog.Nop(), Registerer: w.reg})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(r.Context())
		ended := make(chan error, 1)
		go func() { ended <- src.Run(ctx) }()
		defer func() {
			w.stop()
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}()

		n := 0
		names := func() string {
			n++
			r.put("key", r.message("flows", lineBetween(n, "10.0.0.1", "10.0.0.2")))
			r.await("the row", r.pipeline.Hold+10*time.Second, func() bool { return len(r.mem.All()) == n })
			x := r.mem.All()[n-1].Row
			return x.Src.App + ">" + x.Dst.App
		}
		if got := names(); got != "unknown>unknown" || src.Loaded() {
			t.Errorf("without a file the row says %s (loaded: %v)", got, src.Loaded())
		}

		assign := func(ip, eni, app string) string {
			return fmt.Sprintf(`{"v":1,"src":"cmdb","op":"assign","from":%d,"scope":"vpc-1","ip":%q,"primary":true,"owner":"eni:%s","ep":{"kind":"instance","eni":%q},"wl":{"app":%q,"vpc":"vpc-1"}}`+"\n",
				time.Now().Add(-time.Hour).UnixMilli(), ip, eni, eni, app)
		}
		progress := func() string {
			return fmt.Sprintf(`{"v":1,"src":"cmdb","op":"progress","to":%d}`+"\n", time.Now().UnixMilli())
		}
		db := assign("10.0.0.2", "eni-db", "db")
		write := func(text string) {
			f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString(text); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			r.wait(2 * cfg.PollInterval)
		}
		write(assign("10.0.0.1", "eni-1235b8ca123456789", "web") + progress() + db[:len(db)/2])
		if got := names(); got != "web>unknown" {
			t.Errorf("with a torn line the row says %s", got)
		}
		write(db[len(db)/2:] + progress())
		if got := names(); got != "web>db" {
			t.Errorf("with the whole file the row says %s", got)
		}
	})
}
