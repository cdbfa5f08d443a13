//go:build integration

package integration

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// testPage opens the page on a desk and on a small telephone, by day and by night.
func testPage(t *testing.T, url string) {
	browser := startBrowser(t)
	for _, s := range []screen{
		{name: "desk-light", width: 1280, height: 900, scheme: "light"},
		{name: "desk-dark", width: 1280, height: 900, scheme: "dark"},
		{name: "phone-light", width: 360, height: 740, scheme: "light", mobile: true},
		{name: "phone-dark", width: 360, height: 740, scheme: "dark", mobile: true},
	} {
		t.Run(s.name, func(t *testing.T) {
			b := newTab(t, browser, s)
			b.do(chromedp.Navigate(url))
			b.await(`document.documentElement.dataset.drawn === "true"`)
			b.await(`/^[1-9]/.test(document.getElementById("rate").textContent)`) // rows flow
			b.await(`document.querySelectorAll("#shards tbody tr").length >= 4`)
			b.await(`document.querySelectorAll("#edges tbody tr").length > 0`)
			b.await(`document.querySelectorAll(".chart canvas").length === 2`)
			b.await(`performance.getEntriesByType("resource").filter(e => e.name.endsWith("/api/status")).length > 5`) // the charts have lines

			for id, want := range map[string]string{"balance": "balanced", "health": "all is well"} {
				if got := eval[string](b, `document.getElementById("`+id+`").textContent`); got != want {
					t.Errorf("#%s says %q; want %q", id, got, want)
				}
			}
			for _, id := range []string{"rate", "lag", "named", "rejected"} {
				if got := eval[string](b, `document.getElementById("`+id+`").textContent`); !strings.ContainsAny(got, "0123456789") {
					t.Errorf("tile #%s says %q; want a number", id, got)
				}
			}
			if got := eval[string](b, `document.body.innerText`); strings.Contains(got, "NaN") || strings.Contains(got, "undefined") {
				t.Errorf("the page shows NaN or undefined:\n%s", got)
			}
			b.await(`document.querySelectorAll("#coverage tbody tr").length >= 4`)
			b.await(`[...document.querySelectorAll("#coverage tbody tr")].some(r => /[1-9]/.test(r.cells[3].textContent))`) // lines a second
			if got := eval[int](b, `document.querySelectorAll("#coverage details").length`); got == 0 {
				t.Error("coverage names no field that a log group's format lacks")
			}
			// By the keyboard alone: the configuration opens with Enter and shows what is in force.
			b.do(chromedp.Focus("#config summary"), chromedp.KeyEvent("\r"))
			b.await(`document.getElementById("config-text").textContent.includes("stream_name:")`)
			b.do(chromedp.Focus("#coverage details summary"), chromedp.KeyEvent("\r"))
			b.await(`document.querySelector("#coverage details").open`)
			// Wide tables may scroll inside their panel; the page itself may not.
			if wide := eval[int](b, `document.documentElement.scrollWidth`); wide > int(s.width) {
				t.Errorf("the page is %d wide on a screen of %d: %s", wide, s.width, eval[string](b, widest))
			}
			if dark := eval[int](b, brightness) < 128; dark != (s.scheme == "dark") {
				t.Errorf("background is dark: %t, with the colour scheme %s", dark, s.scheme)
			}
			b.shot(s.name)
			b.quiet(url)
		})
	}
}

const (
	// brightness of the page's background, 0 to 255.
	brightness = `Math.max(...getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number).slice(0, 3))`
	// widest names the element that reaches furthest to the right.
	widest = `[...document.body.querySelectorAll("*")].map(e => [e.getBoundingClientRect().right, e.tagName + "#" + e.id + "." + e.className])
		.sort((a, b) => b[0] - a[0])[0].join(" ")`
)
