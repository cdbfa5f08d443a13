//go:build integration

package integration

import (
	_ "embed"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

//go:embed testdata/look.js
var lookScript string

// mostStops bounds a walk through a view: a table has hundreds of links.
const mostStops = 250

// testContrast fails for text of the view that stands out less from its background than WCAG 2.2 AA asks for.
func testContrast(t *testing.T, b *tab, view string) {
	t.Helper()
	got := eval[struct {
		Looked int      `json:"looked"`
		Faint  []string `json:"faint"`
	}](b, `look.faint()`)
	if got.Looked < 15 {
		t.Errorf("%s: only %d texts were looked at", view, got.Looked)
	}
	for _, f := range got.Faint {
		t.Errorf("%s: %s", view, f)
	}
}

// testKeyboard walks through the view with the Tab key alone, while it goes on being drawn: each stop has a name, is on the screen, shows
// that it has the focus, and comes after the one before; no control is left out, and focus is not lost before the end.
func testKeyboard(t *testing.T, b *tab, view string) {
	t.Helper()
	if view == "talks" { // with all edges there are hundreds of links
		b.script(`(f => { f.value = document.querySelector("#talks-picture a.node title").textContent; f.dispatchEvent(new Event("input")); })(document.getElementById("talks-filter"))`)
	}
	b.script(`document.activeElement.blur(); scrollTo(0, 0); document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute("tabindex"); look.focus()`)
	fixed := eval[[]string](b, `look.fixed()`)
	moving := eval[int](b, `look.moving()`)
	if len(fixed) < 12 { // nine views and the footer's links
		t.Errorf("%s has only %d controls", view, len(fixed))
	}
	var reached []string
	inTables := 0
	for range mostStops {
		b.do(chromedp.KeyEvent("\t"))
		got := eval[struct {
			Name   string   `json:"name"`
			Table  bool     `json:"table"`
			Faults []string `json:"faults"`
		}](b, `look.focus()`)
		if got.Name == "" || len(reached) > 0 && got.Name == reached[0] {
			break // the end, after which it begins again
		}
		reached = append(reached, got.Name)
		if got.Table {
			inTables++
		}
		for _, f := range got.Faults {
			t.Errorf("%s: focus on %s: %s", view, got.Name, f)
		}
	}
	if moving > 0 && inTables == 0 {
		t.Errorf("%s: Tab reaches none of the %d links and buttons in tables and the picture", view, moving)
	}
	if len(reached) == mostStops {
		t.Errorf("%s has more than %d stops", view, mostStops)
	}
	for _, name := range fixed {
		if !slices.Contains(reached, name) {
			t.Errorf("%s: Tab does not reach %s; it reaches %s", view, name, strings.Join(reached, ", "))
		}
	}
}
