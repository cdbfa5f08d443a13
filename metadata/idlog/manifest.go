package idlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Role is what kind of process writes a stream.
type Role string

// The roles.
const (
	// Tracker streams hold what sources tell; dredge sonar writes them.
	Tracker Role = "sonar"
	// Worker streams hold what one worker saw in traffic.
	Worker Role = "worker"
)

// manifestVersion is the layout of manifests that this package writes.
const manifestVersion = 1

// Bounds of a manifest.
const (
	maxManifest = 4 << 20
	maxSegments = 20_000
	maxStreams  = 10_000
	// keptSnapshots is how many snapshots of a stream can be read at any time: the newest, and the one before it in case that
	// is corrupt.
	keptSnapshots = 2
)

// manifest says what of one stream can be read. Its stream's writer alone writes it, over the older one of two slots, so that
// the manifest before it survives whatever happens to a write.
type manifest struct {
	Version int    `json:"v"`
	Stream  string `json:"stream"`
	Role    Role   `json:"role"`
	// Generation grows with every write of this manifest.
	Generation int64 `json:"generation"`
	// Written is when, in Unix milliseconds by the writer's clock.
	Written int64 `json:"written"`
	// Loaded says that the log as a whole holds everything that the sources had to tell at one time.
	Loaded bool `json:"loaded"`
	// Closed says that the writer ended in order and nothing more will come.
	Closed bool `json:"closed,omitempty"`
	// Snapshots are the newest first.
	Snapshots []snapshotRef `json:"snapshots,omitempty"`
	// Segments follow each other without a hole.
	Segments []segmentRef `json:"segments,omitempty"`
}

// snapshotRef is one snapshot: its parts together hold everything that Covers says.
type snapshotRef struct {
	Codec string      `json:"codec"`
	Parts []objectRef `json:"parts"`
	// State says the same in a compact form; nil when its writer has none.
	State *stateRef `json:"state,omitempty"`
	// At is when it was begun, in Unix milliseconds.
	At int64 `json:"at"`
	// Covers says for each stream up to which segment its content is in the snapshot.
	Covers map[string]int64 `json:"covers"`
}

// stateRef is the compact form of a snapshot.
type stateRef struct {
	Codec string      `json:"codec"`
	Parts []objectRef `json:"parts"`
}

// objects are all parts of a snapshot.
func (s *snapshotRef) objects() []objectRef {
	if s.State == nil {
		return s.Parts
	}
	return slices.Concat(s.Parts, s.State.Parts)
}

// segmentRef is one object with the contents of the segments First to Last.
type segmentRef struct {
	objectRef
	First int64 `json:"first"`
	Last  int64 `json:"last"`
}

type objectRef struct {
	Key   string `json:"key"`
	Bytes int64  `json:"bytes"`
	CRC   uint32 `json:"crc"`
}

func checksum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

// last is the number of the newest segment, 0 when there is none.
func (m *manifest) last() int64 {
	if n := len(m.Segments); n > 0 {
		return m.Segments[n-1].Last
	}
	return 0
}

const manifestHead = "dredge-identity-manifest "

// encode returns the manifest with its checksum in front.
func (m *manifest) encode() ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("writing manifest: %w", err)
	}
	if len(body) > maxManifest-64 {
		return nil, fmt.Errorf("manifest of %d bytes: at most %d are written", len(body), maxManifest)
	}
	return append(fmt.Appendf(nil, "%s%08x %d\n", manifestHead, checksum(body), len(body)), body...), nil
}

// decodeManifest reads the manifest of stream.
func decodeManifest(data []byte, stream string) (*manifest, error) {
	head, body, found := bytes.Cut(data, []byte("\n"))
	sum, size, ok := strings.Cut(strings.TrimPrefix(string(head), manifestHead), " ")
	if !found || !ok || !bytes.HasPrefix(head, []byte(manifestHead)) {
		return nil, corrupt("no manifest")
	}
	if n, err := strconv.Atoi(size); err != nil || n != len(body) {
		return nil, corrupt("manifest of %d bytes, written were %q", len(body), size)
	}
	if want, err := strconv.ParseUint(sum, 16, 32); err != nil || uint32(want) != checksum(body) {
		return nil, corrupt("checksum of manifest differs")
	}
	var m manifest
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, corrupt("manifest: %w", err)
	}
	if m.Version != manifestVersion {
		return nil, corrupt("manifest of version %d; this reader knows %d", m.Version, manifestVersion)
	}
	return &m, m.check(stream)
}

func (m *manifest) check(stream string) error {
	if m.Stream != stream || m.Generation <= 0 {
		return corrupt("manifest of stream %q at the place of %q", m.Stream, stream)
	}
	if len(m.Snapshots) > keptSnapshots || len(m.Segments) > maxSegments {
		return corrupt("manifest with %d snapshots and %d segments", len(m.Snapshots), len(m.Segments))
	}
	for i, s := range m.Segments {
		if s.First <= 0 || s.Last < s.First || i > 0 && s.First != m.Segments[i-1].Last+1 {
			return corrupt("segment %d to %d does not follow", s.First, s.Last)
		}
		if err := s.check(segmentPrefix + stream + "/"); err != nil {
			return err
		}
	}
	for _, s := range m.Snapshots {
		if len(s.Covers) > maxStreams {
			return corrupt("snapshot of %d streams", len(s.Covers))
		}
		for _, p := range s.objects() {
			if err := p.check(snapshotPrefix + stream + "/"); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o objectRef) check(prefix string) error {
	if !strings.HasPrefix(o.Key, prefix) || strings.Contains(o.Key, "..") || o.Bytes < 0 || o.Bytes > MaxObject {
		return corrupt("object %q of %d bytes", o.Key, o.Bytes)
	}
	return nil
}

// The folders of a log.
const (
	manifestPrefix = "manifest/"
	segmentPrefix  = "segment/"
	snapshotPrefix = "snapshot/"
	leaderPrefix   = "leader/"
)

// validStream says whether a stream may be called that: the name becomes a part of keys.
func validStream(name string) bool {
	return streamPattern.MatchString(name) && !strings.Contains(name, "..")
}

var streamPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// slots are the two places of a stream's manifest.
const slots = 2

func manifestKey(stream string, generation int64) string {
	return manifestPrefix + stream + "/" + strconv.FormatInt(generation%slots, 10)
}

// streamOfManifest returns the stream whose manifest stands at key.
func streamOfManifest(key string) (string, bool) {
	rest, ok := strings.CutPrefix(key, manifestPrefix)
	stream, slot, found := strings.Cut(rest, "/")
	return stream, ok && found && (slot == "0" || slot == "1") && validStream(stream)
}

func segmentKey(stream string, first, last int64) string {
	return fmt.Sprintf("%s%s/%012d-%012d", segmentPrefix, stream, first, last)
}

func snapshotKey(stream string, n int64, part int) string {
	return fmt.Sprintf("%s%s/%012d-%04d", snapshotPrefix, stream, n, part)
}
