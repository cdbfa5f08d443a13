package geo_test

import (
	"os"
	"path/filepath"
	"testing"

	"dredge/metadata/geo"

	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// The fuzz seed in testdata is what the writer makes. DREDGE_UPDATE=1 writes it anew.
func TestFuzzSeedIsADatabase(t *testing.T) {
	if os.Getenv("DREDGE_UPDATE") != "" {
		writeDatabase(t, "testdata/seed.mmdb", "Test", map[string]mmdbtype.Map{"8.8.8.0/24": country("US"), "2001:4860::/32": system(15169, "GOOGLE")})
	}
	fx := setUp(t, func(c *geo.Config, _ string) { c.Databases = []string{filepath.Join("testdata", "seed.mmdb")} })
	if err := fx.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p, _ := fx.Place(addr(t, "8.8.8.8")); p.Country != "US" {
		t.Errorf("%+v", p)
	}
}
