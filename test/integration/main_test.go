//go:build integration

package integration

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// setting returns an environment variable that test/integration.sh sets.
func setting(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set; run test/integration.sh", name)
	}
	return v
}

// pause lets another process get on between two looks at it; no virtual time spans processes.
func pause(d time.Duration) { <-time.After(d) }

// await calls ready until it says true, and fails the test after the time.
func await(t *testing.T, what string, within time.Duration, ready func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !ready() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen within %s", what, within)
		}
		pause(100 * time.Millisecond)
	}
}
