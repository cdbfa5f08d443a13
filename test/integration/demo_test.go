//go:build integration

package integration

import (
	"regexp"
	"strings"
	"testing"
)

// TestDemo runs `dredge demo` as a person would, looks at its page with a browser, and ends it with Ctrl-C. The demo's own verdict counts: it compares every row with the truth.
func TestDemo(t *testing.T) {
	demo := startDemo(t)
	t.Run("Page", func(t *testing.T) { testPage(t, demo.url) })
	t.Run("Verdict", func(t *testing.T) {
		if err := demo.interrupt(); err != nil {
			t.Errorf("the demo ended with %v:\n%s", err, demo.output())
		}
		if want := "The books balance, every line arrived once, and no name was wrong."; !strings.Contains(demo.output(), want) {
			t.Errorf("the demo does not say %q:\n%s", want, demo.output())
		}
	})
}

type demo struct {
	*program
	url string // ends with a slash
}

func startDemo(t *testing.T) demo {
	t.Helper()
	p, url := start(t, regexp.MustCompile(`page: (http://127\.0\.0\.1:\d+/)`), dredge(t, build(t), nil, "demo", "--verbose", "--addr", "127.0.0.1:0"))
	return demo{p, url}
}
