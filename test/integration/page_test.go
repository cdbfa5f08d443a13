//go:build integration

package integration

import (
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// shownView is a view of the page: what has to be there before it is looked at, and what is tried in it.
type shownView struct {
	name  string
	ready []string
	try   func(t *testing.T, b *tab)
}

// views are all views in the order of their keys. The pictures of docs/ are made of them.
func views() []shownView {
	return []shownView{
		{"overview", []string{
			`/^[1-9]/.test(document.getElementById("rate").textContent)`, // rows flow
			`document.querySelectorAll("#edges tbody tr").length > 0`,
			`document.querySelectorAll(".chart canvas").length === 2`,
			`performance.getEntriesByType("resource").filter(e => e.name.endsWith("/api/status")).length > 5`, // the charts have lines
		}, testOverview},
		{"talks", []string{
			`document.querySelectorAll("#talks-table tbody tr").length > 10`,
			`document.querySelectorAll("#talks-picture .band").length > 10`,
			`document.querySelectorAll("#matrix .cell:not(:empty)").length > 10`,
		}, testTalks},
		{"unknowns", []string{`document.querySelectorAll("#unknowns tbody tr").length > 0 || !document.querySelector('[data-view="unknowns"] .empty').hidden`}, nil},
		{"coverage", []string{
			`document.querySelectorAll("#coverage tbody tr").length >= 4`,
			`[...document.querySelectorAll("#coverage tbody tr")].some(r => /[1-9]/.test(r.cells[3].textContent))`, // lines a second
			`document.querySelectorAll("#networks tbody tr").length > 0`,
		}, testCoverage},
		{"shards", []string{`document.querySelectorAll("#shards tbody tr").length >= 4`}, nil},
		{"lookup", nil, testLookup},
		{"tail", []string{`document.querySelectorAll("#tail tbody tr").length > 10`}, testTail},
		{"rejected", []string{`!document.querySelector('[data-view="rejected"] .empty').hidden`}, nil},
		{"configuration", []string{`document.getElementById("config-text").textContent.includes("stream_name:")`}, nil},
	}
}

// testPage opens every view on a desk and on a small telephone, by day and by night.
func testPage(t *testing.T, url string) {
	browser := startBrowser(t)
	for _, s := range []screen{
		{name: "desk-light", width: 1280, height: 800, scheme: "light"},
		{name: "desk-dark", width: 1280, height: 800, scheme: "dark"},
		{name: "phone-light", width: 360, height: 740, scheme: "light", mobile: true},
		{name: "phone-dark", width: 360, height: 740, scheme: "dark", mobile: true},
	} {
		t.Run(s.name, func(t *testing.T) {
			b := newTab(t, browser, s)
			b.do(chromedp.Navigate(url))
			b.await(`document.documentElement.dataset.drawn === "overview"`)
			eval[bool](b, lookScript+"; true")
			for i, v := range views() {
				b.do(chromedp.KeyEvent(string(rune('1' + i)))) // by the keyboard alone
				b.await(`location.hash === "#` + v.name + `" && !document.querySelector('[data-view="` + v.name + `"]').hidden`)
				b.await(`document.querySelectorAll("main > [data-view]:not([hidden])").length === 1`)
				for _, ready := range v.ready {
					b.await(ready)
				}
				if v.try != nil {
					v.try(t, b)
				}
				if got := eval[string](b, `document.body.innerText`); strings.Contains(got, "NaN") || strings.Contains(got, "undefined") {
					t.Errorf("%s shows NaN or undefined:\n%s", v.name, got)
				}
				// Wide tables may scroll inside their panel; the page itself may not.
				if wide := eval[int](b, `document.documentElement.scrollWidth`); wide > int(s.width) {
					t.Errorf("%s is %d wide on a screen of %d: %s", v.name, wide, s.width, eval[string](b, widest))
				}
				testContrast(t, b, v.name)
				b.script(`document.activeElement.blur(); scrollTo(0, 0)`)
				b.shot(s.name + "-" + v.name)
				if s.name == "desk-light" || s.name == "phone-dark" { // each key press is a question to the browser
					testKeyboard(t, b, v.name)
				}
			}
			testFocusIsFollowed(t, b)
			if dark := eval[int](b, brightness) < 128; dark != (s.scheme == "dark") {
				t.Errorf("background is dark: %t, with the colour scheme %s", dark, s.scheme)
			}
			b.quiet(url)
		})
	}
}

func testOverview(t *testing.T, b *tab) {
	if got := eval[string](b, `document.getElementById("balance").textContent`); got != "balanced" {
		t.Errorf("#balance says %q; want balanced", got)
	}
	b.await(`document.getElementById("health").textContent === "all is well"`) // a call that was late is a problem until it is answered
	for _, id := range []string{"rate", "lag", "named", "rejected"} {
		if got := eval[string](b, `document.getElementById("`+id+`").textContent`); !strings.ContainsAny(got, "0123456789") {
			t.Errorf("tile #%s says %q; want a number", id, got)
		}
	}
}

// testTalks drills into the busiest application and back, sorts and filters.
func testTalks(t *testing.T, b *tab) {
	app := eval[string](b, `document.querySelector("#talks-picture a.node text").parentElement.querySelector("title").textContent`)
	b.script(`document.querySelector("#talks-picture a.node").dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }))`)
	b.await(`document.getElementById("talks-title").textContent.startsWith("What ")`)
	b.await(`[...document.querySelectorAll("#talks-table tbody tr")].every(r => [r.cells[0].textContent, r.cells[1].textContent].includes(` + quote(app) + `))`)
	b.script(`document.getElementById("talks-all").click()`)
	b.await(`document.getElementById("talks-title").textContent === "Who talks to whom"`)
	b.script(`document.querySelector('#talks-table th[data-key="src"] button').click()`)
	b.await(`(a => a.length > 5 && a.every((x, i) => i === 0 || a[i - 1].localeCompare(x) >= 0))([...document.querySelectorAll("#talks-table tbody tr")].map(r => r.cells[0].textContent))`)
	b.script(`document.querySelector('#talks-table th[data-key="bytes"] button').click()`)
	b.do(chromedp.Focus("#talks-filter"), chromedp.KeyEvent("nothing is called so"))
	b.await(`document.querySelectorAll("#talks-table tbody tr").length === 0`)
	b.script(`(f => { f.value = ""; f.dispatchEvent(new Event("input")); })(document.getElementById("talks-filter"))`)
	b.await(`document.querySelectorAll("#talks-table tbody tr").length > 10`)
	if n := eval[int](b, `document.querySelectorAll("#talks-picture .band").length`); n > 24 {
		t.Errorf("the picture shows %d edges; nobody can tell so many apart", n)
	}
}

func testCoverage(t *testing.T, b *tab) {
	if got := eval[int](b, `document.querySelectorAll("#coverage details").length`); got == 0 {
		t.Error("coverage names no field that a log group's format lacks")
	}
	b.do(chromedp.Focus("#coverage details summary"), chromedp.KeyEvent("\r"))
	b.await(`document.querySelector("#coverage details").open`)
	b.do(chromedp.KeyEvent("\r"))
}

// testLookup looks an address up that a row shows, and gets its time line.
func testLookup(t *testing.T, b *tab) {
	b.script(`const rows = new EventSource("/api/tail?filter=src_grade=confirmed");
		rows.addEventListener("row", e => { rows.close(); document.getElementById("ip").value = JSON.parse(e.data).src_ip; document.body.dataset.ip = "true"; })`)
	b.await(`document.body.dataset.ip === "true"`)
	b.do(chromedp.Focus("#ip"), chromedp.KeyEvent("\r"))
	b.await(`document.querySelectorAll("#answers article").length > 0`)
	b.await(`document.querySelectorAll("#lanes .track i").length > 0`)
	if got := eval[string](b, `document.querySelector("#answers article h2 .pill").textContent`); got == "" {
		t.Error("the answer has no grade")
	}
}

// testTail filters the rows, and is told what is wrong with a filter.
func testTail(_ *testing.T, b *tab) {
	b.do(chromedp.Focus("#tail-filter"), chromedp.KeyEvent("dst_grade=public\r"))
	b.await(`(r => r.length > 0 && r.every(x => x.cells[2].title === "public"))([...document.querySelectorAll("#tail tbody tr")])`)
	b.script(`document.getElementById("tail-filter").value = ""`)
	b.do(chromedp.KeyEvent("\r"))
	b.await(`document.querySelectorAll("#tail tbody tr").length > 10`)
	b.script(`document.getElementById("tail-pause").click()`)
}

// testFocusIsFollowed draws a long list in another order: the link that has the focus stays on the screen if it was there, and the page does
// not move if it was not.
func testFocusIsFollowed(t *testing.T, b *tab) {
	got, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]int](`(async () => {
		const { redraw, link, element } = await import("/assets/dom.js");
		const box = element("div"), shown = [...document.body.children];
		const links = (order) => order.map((i) => { const p = element("p"); p.append(link("#x" + i, "", "link " + i)); return p; });
		const order = [...Array(300).keys()];
		shown.forEach((e) => e.style.display = "none");
		document.body.append(box);
		redraw(box, ...links(order));
		box.querySelector("a").focus();
		redraw(box, ...links(order.toReversed()));
		const to = document.activeElement.getBoundingClientRect(), out = [document.activeElement.hash === "#x0" && to.top >= 0 && to.bottom <= innerHeight ? 1 : 0];
		scrollTo(0, 0);
		redraw(box, ...links(order.toReversed()));
		out.push(scrollY);
		box.remove();
		shown.forEach((e) => e.style.display = "");
		return out;
	})()`, chromedp.EvalAwaitPromise))
	b.ok(err)
	if want := []int{1, 0}; !slices.Equal(got, want) {
		t.Errorf("focus followed, page moved to: %v; want %v", got, want)
	}
}

func quote(s string) string { return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"` }

const (
	// brightness of the page's background, 0 to 255.
	brightness = `Math.max(...getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number).slice(0, 3))`
	// widest names the element that reaches furthest to the right.
	widest = `[...document.body.querySelectorAll("*")].map(e => [e.getBoundingClientRect().right, e.tagName + "#" + e.id + "." + e.className])
		.sort((a, b) => b[0] - a[0])[0].join(" ")`
)
