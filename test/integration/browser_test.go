//go:build integration

package integration

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// startBrowser starts a headless Chromium that can reach nothing but this machine. The context is for newTab.
func startBrowser(t *testing.T) context.Context {
	t.Helper()
	// Not t.TempDir: the browser's helper processes may write for a moment after it has ended, and a folder that fills up while
	// it is removed is no failure of the page.
	profile, err := os.MkdirTemp("", "dredge-browser-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(profile); err != nil {
			t.Logf("left behind: %v", err)
		}
	})
	options := slices.Concat(chromedp.DefaultExecAllocatorOptions[:], []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(setting(t, "DREDGE_TEST_CHROMIUM")),
		chromedp.NoSandbox, // as root there is none
		chromedp.DisableGPU,
		chromedp.UserDataDir(profile),
		chromedp.WSURLReadTimeout(3 * time.Minute), // a browser's first start reads 300 MB from the disk
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
	})
	allocator, stop := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	t.Cleanup(stop)
	browser, closeBrowser := chromedp.NewContext(allocator)
	t.Cleanup(closeBrowser)
	t.Cleanup(func() {
		if err := chromedp.Cancel(browser); err != nil {
			t.Errorf("closing the browser: %v", err)
		}
	})
	if err := chromedp.Do(browser); err != nil {
		t.Fatalf("starting the browser: %v", err)
	}
	return browser
}

// screen is what a tab pretends to be shown on.
type screen struct {
	name          string
	width, height int64
	scheme        string // prefers-color-scheme
	mobile        bool
}

// tab is a browser tab that keeps what the page asked for and complained about.
type tab struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // the tab's; chromedp finds the tab by it

	mu         sync.Mutex
	requests   []string
	complaints []string
}

func newTab(t *testing.T, browser context.Context, s screen) *tab {
	t.Helper()
	ctx, closeTab := chromedp.NewContext(browser)
	t.Cleanup(closeTab)
	ctx, cancel := context.WithTimeout(ctx, 8*time.Minute) // nine views, on a machine that may be busy or stand still
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx}
	viewport := []chromedp.EmulateViewportOption{}
	if s.mobile {
		viewport = append(viewport, chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulateScale(2))
	}
	b.do(chromedp.EmulateViewport(s.width, s.height, viewport...))
	scheme := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: s.scheme}}}
	_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, scheme)
	b.ok(err)
	_, err = chromedp.Call(ctx, network.Enable, network.EnableParams{})
	b.ok(err)
	b.ok(chromedp.Listen(ctx, b.observe))
	return b
}

func (b *tab) ok(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	b.ok(chromedp.Do(b.ctx, steps...))
}

func (b *tab) observe(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *network.EventLoadingFailed:
		if !e.Canceled { // the page goes away
			b.complaints = append(b.complaints, "loading failed: "+e.ErrorText)
		}
	case *network.EventResponseReceived:
		if e.Response.Status >= 400 {
			b.complaints = append(b.complaints, e.Response.URL+": "+e.Response.StatusText)
		}
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, "exception: "+e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			b.complaints = append(b.complaints, "console "+string(e.Type))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			b.complaints = append(b.complaints, "log: "+e.Entry.Text)
		}
	}
}

// await waits until the expression is true in the page.
func (b *tab) await(expression string) {
	b.t.Helper()
	_, err := chromedp.Run(b.ctx, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(3*time.Minute), chromedp.WithPollingInterval(100*time.Millisecond)))
	if err != nil {
		b.t.Fatalf("waiting for %s: %v", expression, err)
	}
}

// eval returns the value of the expression in the page.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// quiet fails the test if the page complained or asked for anything that does not begin with home.
func (b *tab) quiet(home string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.complaints {
		b.t.Errorf("the page complains: %s", c)
	}
	if len(b.requests) < 5 {
		b.t.Errorf("only %d requests were seen: %q", len(b.requests), b.requests)
	}
	for _, r := range b.requests {
		if !strings.HasPrefix(r, home) {
			b.t.Errorf("the page asked for %s", r)
		}
	}
}

// script runs statements in the page.
func (b *tab) script(statements string) {
	b.t.Helper()
	eval[bool](b, "(() => { "+statements+"; return true; })()")
}

// shot saves a picture of what the screen shows in the folder that DREDGE_SHOTS names, if it is set.
func (b *tab) shot(name string) {
	b.t.Helper()
	dir := os.Getenv("DREDGE_SHOTS")
	if dir == "" {
		return
	}
	picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	b.ok(err)
	picture, err = fewColours(picture)
	b.ok(err)
	b.ok(os.MkdirAll(dir, 0o755))
	b.ok(os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o600))
}

// fewColours writes a PNG anew with the 256 colours that it has most of, which makes a third of it.
func fewColours(data []byte) ([]byte, error) {
	src, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	coarse := func(c color.Color) color.RGBA { // colours that nobody tells apart are one
		r, g, b, _ := c.RGBA()
		return color.RGBA{uint8(r>>8) &^ 3, uint8(g>>8) &^ 3, uint8(b>>8) &^ 3, 255}
	}
	counts := map[color.RGBA]int{}
	area := src.Bounds()
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			counts[coarse(src.At(x, y))]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(counts), func(a, b color.RGBA) int { return counts[b] - counts[a] })
	palette := color.Palette{}
	for _, c := range colours[:min(256, len(colours))] {
		palette = append(palette, c)
	}
	nearest := map[color.RGBA]uint8{}
	out := image.NewPaletted(area, palette)
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			c := coarse(src.At(x, y))
			i, ok := nearest[c]
			if !ok {
				i = uint8(palette.Index(c))
				nearest[c] = i
			}
			out.SetColorIndex(x, y, i)
		}
	}
	var small bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, out)
	return small.Bytes(), err
}
