package blob_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"dredge/internal/blob"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openDir(t *testing.T) (*blob.Bucket, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "made", "on demand")
	b, err := blob.New("file://" + dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b, dir
}

func TestDirectory(t *testing.T) {
	b, _ := openDir(t)
	contract(t, b)
}

// contract is what every kind of bucket does.
func contract(t *testing.T, b *blob.Bucket) {
	t.Helper()
	ctx := t.Context()
	if _, err := b.Read(ctx, "a/none", 10); !errors.Is(err, blob.ErrNotExist) || !strings.Contains(err.Error(), `"a/none"`) {
		t.Errorf("reading what is not there: %v", err)
	}
	for key, text := range map[string]string{"a/2": "two", "a/1": "one", "b/1": "other", "a/deep/3": ""} {
		if err := b.Write(ctx, key, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := b.Read(ctx, "a/2", 3)
	if err != nil || string(got) != "two" {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := b.Read(ctx, "a/2", 2); !errors.Is(err, blob.ErrTooLarge) {
		t.Errorf("reading above the bound: %v", err)
	}
	before := listed(t, b, "a/")
	if diff := cmp.Diff([]string{"a/1", "a/2", "a/deep/3"}, keys(before)); diff != "" {
		t.Error(diff)
	}
	if err := b.Write(ctx, "a/2", []byte("other two")); err != nil {
		t.Fatal(err)
	}
	after := listed(t, b, "a/")
	if after[1].Version == before[1].Version || after[0].Version != before[0].Version || after[1].Size != 9 {
		t.Errorf("versions before %v after %v", before, after)
	}
	if err := b.Create(ctx, "a/2", []byte("again")); !errors.Is(err, blob.ErrExist) {
		t.Errorf("creating what is there: %v", err)
	}
	if err := b.Delete(ctx, "a/2"); err != nil {
		t.Error(err)
	}
	if err := b.Delete(ctx, "a/2"); err != nil {
		t.Errorf("deleting twice: %v", err)
	}
	if err := b.Create(ctx, "a/2", []byte("anew")); err != nil {
		t.Error(err)
	}
	if got, _ := b.Read(ctx, "a/2", 99); string(got) != "anew" {
		t.Errorf("created %q", got)
	}

	var won atomic.Int32
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			switch err := b.Create(ctx, "lease/1", fmt.Append(nil, i)); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, blob.ErrExist):
				t.Error(err)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 8 created one object", won.Load())
	}
}

func listed(t *testing.T, b *blob.Bucket, prefix string) []blob.Info {
	t.Helper()
	list, err := b.List(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func keys(list []blob.Info) []string {
	var out []string
	for _, i := range list {
		out = append(out, i.Key)
	}
	return out
}

// What a writer that died left behind is no object.
func TestTemporaryFilesAreNoObjects(t *testing.T) {
	b, dir := openDir(t)
	if err := b.Write(t.Context(), "a/1", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a", "2.18e0.tmp"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a/1"}, keys(listed(t, b, ""))); diff != "" {
		t.Error(diff)
	}
}

func TestAnEndedContextWritesNothing(t *testing.T) {
	b, _ := openDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Write(ctx, "a", []byte("x")); err == nil {
		t.Error("written")
	}
	if list := listed(t, b, ""); len(list) != 0 {
		t.Errorf("there is %v", list)
	}
}

func TestURLs(t *testing.T) {
	for url, want := range map[string]string{
		"file:///var/lib/dredge":  "",
		"s3://bucket/prefix":      "",
		"s3://bucket":             "",
		"file://var/lib":          "write file:///a/directory",
		"/var/lib/dredge":         "write file:///a/directory or s3://bucket/prefix",
		"gs://bucket":             "names no store",
		"s3:///prefix":            "names no store",
		"http://[::1":             "is no URL",
		"":                        "names no store",
		"file:relative/directory": "no absolute directory",
	} {
		err := blob.CheckURL(url)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", url, err, want)
		}
	}
}
