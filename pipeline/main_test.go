package pipeline

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(memoryChild) != "" {
		os.Exit(memoryWorkload())
	}
	goleak.VerifyTestMain(m)
}
