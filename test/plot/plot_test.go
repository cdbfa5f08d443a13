package plot

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

func TestSVG(t *testing.T) {
	text := SVG([]Chart{
		{Title: "a < b", Unit: "MiB", Lines: []Line{{"one", []float64{0, 5, 10}}, {"two", []float64{1, math.NaN(), 2}}}},
		{Title: "nothing", Lines: []Line{{"none", nil}}},
	}, 60, "min")
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
	// The greatest value is at the top of its field, 0 at its foot, and a gap lifts the pen.
	for _, want := range []string{"a &lt; b", "10 MiB", "60 min", "M74.0,166.0L410.0,98.0L746.0,30.0", "M74.0,152.4M746.0,138.8"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	for v, want := range map[float64]float64{0: 1, 0.3: 0.5, 1: 1, 1.1: 2, 2.6: 5, 7: 10, 1900: 2000} {
		if got := tidy(v); math.Abs(got-want) > 1e-9 {
			t.Errorf("tidy(%g) = %g, want %g", v, got, want)
		}
	}
}
