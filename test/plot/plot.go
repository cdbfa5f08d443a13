// Package plot draws lines over time as SVG, for reports: no library, no font, one file that a browser and a forge show.
package plot

import (
	"encoding/xml"
	"fmt"
	"math"
	"strings"
)

// Line is one series. Values stand at equal distances, NaN is a gap.
type Line struct {
	Name   string
	Values []float64
}

// Chart is one diagram of a picture.
type Chart struct {
	Title string
	// Unit stands behind the numbers of the axis.
	Unit  string
	Lines []Line
}

const (
	width, height         = 760, 190
	left, right, top, low = 74, 14, 30, 24
)

var colours = []string{"#0b6e8a", "#d98e04", "#b0507a", "#6a8f2f", "#7568c8"} //nolint:gochecknoglobals // read-only table

// SVG draws charts below each other over a common axis from 0 to span, whose unit is given.
func SVG(charts []Chart, span float64, unit string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui,sans-serif" font-size="12">`+"\n", width, height*len(charts))
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, height*len(charts))
	for i, c := range charts {
		fmt.Fprintf(&b, `<g transform="translate(0,%d)">`+"\n", i*height)
		c.draw(&b, span, unit)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (c Chart) draw(b *strings.Builder, span float64, unit string) {
	most := 0.0
	for _, l := range c.Lines {
		for _, v := range l.Values {
			if !math.IsNaN(v) {
				most = math.Max(most, v)
			}
		}
	}
	step := tidy(most / 4)
	most = step * math.Max(1, math.Ceil(most/step))
	w, h := float64(width-left-right), float64(height-top-low)
	text := func(x, y float64, anchor, colour, s string) {
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">%s</text>`+"\n", x, y, anchor, colour, escape(s))
	}
	text(left, 18, "start", "#14212b", c.Title)
	for v := 0.0; v <= most*1.0001; v += step {
		y := top + h - h*v/most
		fmt.Fprintf(b, `<path d="M%d,%.1f h%.1f" stroke="#dde4e8"/>`+"\n", left, y, w)
		text(left-6, y+4, "end", "#5b6b77", strings.TrimSpace(short(v)+" "+c.Unit))
	}
	ticks := tidy(span / 6)
	for t := 0.0; t <= span*1.0001; t += ticks {
		text(left+w*t/span, height-6, "middle", "#5b6b77", strings.TrimSpace(short(t)+" "+unit))
	}
	at := float64(width - right)
	for i := len(c.Lines) - 1; i >= 0 && len(c.Lines) > 1; i-- { // names from the right
		text(at, 18, "end", colours[i%len(colours)], c.Lines[i].Name)
		at -= float64(len(c.Lines[i].Name))*6.6 + 18
	}
	for i, l := range c.Lines {
		fmt.Fprintf(b, `<path fill="none" stroke-width="1.6" stroke="%s" d="%s"/>`+"\n", colours[i%len(colours)], l.path(w, h, most))
	}
}

// path is the line in a field of w by h, in which most is the top.
func (l Line) path(w, h, most float64) string {
	var b strings.Builder
	pen := "M"
	for i, v := range l.Values {
		if math.IsNaN(v) {
			pen = "M"
			continue
		}
		x := left + w*float64(i)/math.Max(1, float64(len(l.Values)-1))
		fmt.Fprintf(&b, "%s%.1f,%.1f", pen, x, top+h-h*v/most)
		pen = "L"
	}
	return b.String()
}

// tidy is the smallest of 1, 2, 5, 10, 20 … that is not less than v; 1 for nothing.
func tidy(v float64) float64 {
	if v <= 0 {
		return 1
	}
	base := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*base >= v {
			return m * base
		}
	}
	return 10 * base
}

func short(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%gM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%gk", v/1e3)
	}
	return fmt.Sprintf("%g", math.Round(v*1000)/1000)
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}
