// Command release builds what is published of a version: static binaries for Linux and macOS on amd64 and arm64 in archives with the
// licence and shell completions, a CycloneDX bill of materials for each, and checksums. The same commit gives the same bytes.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// targets are what is built for.
var targets = []struct{ os, arch string }{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}} //nolint:gochecknoglobals // read-only table

func main() {
	out := flag.String("out", "dist", "folder to write into; it is made")
	version := flag.String("version", "", "version in the names of files; empty takes it from git")
	flag.Parse()
	if err := release(context.Background(), *out, *version); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func release(ctx context.Context, out, version string) error {
	if version == "" {
		text, err := run(ctx, ".", nil, "git", "describe", "--tags", "--always", "--dirty")
		if err != nil {
			return err
		}
		version = strings.TrimSpace(text)
	}
	stamp, err := commitTime(ctx)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil { //nolint:gosec // what is published may be read
		return err
	}
	work, err := os.MkdirTemp("", "dredge-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work) //nolint:errcheck // a temporary folder
	completions, err := completionsOf(ctx, work)
	if err != nil {
		return err
	}
	var sums []string
	publish := func(name string, data []byte) error {
		sums = append(sums, fmt.Sprintf("%x  %s", sha256.Sum256(data), name))
		return os.WriteFile(filepath.Join(out, name), data, 0o644) //nolint:gosec // as above
	}
	for _, t := range targets {
		name := fmt.Sprintf("dredge_%s_%s_%s", version, t.os, t.arch)
		binary := filepath.Join(work, name)
		if err := build(ctx, ".", binary, t.os, t.arch); err != nil {
			return err
		}
		bom, err := billOfMaterials(binary, version, stamp)
		if err != nil {
			return err
		}
		archive, err := pack(name, binary, completions, stamp)
		if err != nil {
			return err
		}
		if err := publish(name+".tar.gz", archive); err != nil {
			return err
		}
		if err := publish(name+".cdx.json", bom); err != nil {
			return err
		}
		fmt.Println(name)
	}
	slices.Sort(sums)
	return os.WriteFile(filepath.Join(out, "SHA256SUMS"), []byte(strings.Join(sums, "\n")+"\n"), 0o644) //nolint:gosec // as above
}

func run(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(errOut.String()))
	}
	return string(out), nil
}

// build makes one binary of the repository in dir. Paths of this machine are not in it; the commit and its version are, by the Go tool itself.
func build(ctx context.Context, dir, binary, goos, goarch string) error {
	_, err := run(ctx, dir, []string{"CGO_ENABLED=0", "GOOS=" + goos, "GOARCH=" + goarch, "GOFLAGS="},
		"go", "build", "-trimpath", "-buildvcs=true", "-ldflags=-s -w -buildid=", "-o", binary, "./cmd/dredge")
	return err
}

// commitTime is the time that every published file carries.
func commitTime(ctx context.Context) (time.Time, error) {
	text, err := run(ctx, ".", nil, "git", "log", "-1", "--format=%ct")
	if err != nil {
		return time.Time{}, err
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return time.Unix(seconds, 0).UTC(), err
}

// file is one file of an archive.
type file struct {
	name string
	mode int64
	data []byte
}

// completionsOf asks a binary for this machine for its shell completions.
func completionsOf(ctx context.Context, work string) ([]file, error) {
	binary := filepath.Join(work, "dredge")
	if err := build(ctx, ".", binary, runtime.GOOS, runtime.GOARCH); err != nil {
		return nil, err
	}
	var out []file
	for _, shell := range []string{"bash", "zsh", "fish"} {
		text, err := run(ctx, ".", nil, binary, "completion", shell)
		if err != nil {
			return nil, err
		}
		out = append(out, file{"completions/dredge." + shell, 0o644, []byte(text)})
	}
	return out, nil
}

// pack makes an archive of the binary and what belongs to it, in one order and with one time.
func pack(folder, binary string, more []file, stamp time.Time) ([]byte, error) {
	files := []file{{name: "dredge", mode: 0o755}, {name: "LICENSE", mode: 0o644}, {name: "README.md", mode: 0o644}, {name: "CHANGELOG.md", mode: 0o644}}
	for i := range files {
		path := files[i].name
		if i == 0 {
			path = binary
		}
		var err error
		if files[i].data, err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	return archive(folder, append(files, more...), stamp)
}

func archive(folder string, files []file, stamp time.Time) ([]byte, error) {
	var out bytes.Buffer
	zip, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	tw := tar.NewWriter(zip)
	for _, f := range files {
		head := tar.Header{Name: folder + "/" + f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: stamp, Format: tar.FormatPAX}
		if err := tw.WriteHeader(&head); err != nil {
			return nil, err
		}
		if _, err := tw.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	if err := zip.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// bill is a CycloneDX 1.6 document, as far as it is needed here.
type bill struct {
	BOMFormat   string `json:"bomFormat"`
	SpecVersion string `json:"specVersion"`
	Version     int    `json:"version"`
	Metadata    struct {
		Timestamp string    `json:"timestamp"`
		Component component `json:"component"`
	} `json:"metadata"`
	Components []component `json:"components"`
}

// component is one module.
type component struct {
	Type    string `json:"type"`
	Ref     string `json:"bom-ref"`
	Name    string `json:"name"`
	Version string `json:"version"`
	PURL    string `json:"purl"`
	Hashes  []hash `json:"hashes,omitempty"`
}

type hash struct {
	Alg     string `json:"alg"`
	Content string `json:"content"`
}

// billOfMaterials lists what the linker says is in the binary.
func billOfMaterials(binary, version string, stamp time.Time) ([]byte, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, fmt.Errorf("read what %s is made of: %w", binary, err)
	}
	data, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(billOf(info, sha256.Sum256(data), version, stamp), "", "  ")
	return append(text, '\n'), err
}

func billOf(info *buildinfo.BuildInfo, sum [sha256.Size]byte, version string, stamp time.Time) bill {
	b := bill{BOMFormat: "CycloneDX", SpecVersion: "1.6", Version: 1}
	b.Metadata.Timestamp = stamp.Format(time.RFC3339)
	b.Metadata.Component = component{
		Type: "application", Ref: "dredge", Name: "dredge", Version: version, PURL: "pkg:golang/dredge@" + version,
		Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}},
	}
	goVersion := strings.TrimPrefix(info.GoVersion, "go")
	b.Components = append(b.Components, component{Type: "platform", Ref: "std", Name: "stdlib", Version: goVersion, PURL: "pkg:golang/stdlib@" + goVersion})
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		purl := "pkg:golang/" + m.Path + "@" + m.Version
		b.Components = append(b.Components, component{Type: "library", Ref: purl, Name: m.Path, Version: m.Version, PURL: purl})
	}
	return b
}
