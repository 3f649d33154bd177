package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Sizes of plots, in pixels.
const (
	plotWidth  = 760
	labelWidth = 330 // left of bars
	barHeight  = 22
	plotHeight = 300 // of curves
	margin     = 60
)

// bar is one figure and what it is of. Strong ones are the receiver's.
type bar struct {
	label  string
	value  float64
	strong bool
}

// barChart draws figures as bars on a logarithmic scale, as SVG.
func barChart(title, unit string, bars []bar) string {
	low, high := math.Inf(1), math.Inf(-1)
	for _, one := range bars {
		low, high = min(low, one.value), max(high, one.value)
	}
	axis := newLogAxis(low/2, high, labelWidth, plotWidth-margin)
	height := 70 + barHeight*len(bars)
	var b strings.Builder
	svgBegin(&b, height, title)
	for _, tick := range axis.ticks() {
		x := axis.at(tick)
		fmt.Fprintf(&b, `<line x1="%.1f" y1="34" x2="%.1f" y2="%d" stroke="#ddd"/>`+"\n", x, x, height-30)
		svgText(&b, x, float64(height-14), "middle", compact(tick)+unit)
	}
	for i, one := range bars {
		y := 38 + barHeight*i
		color := "#9aa5b1"
		if one.strong {
			color = "#2166ac"
		}
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", labelWidth, y, axis.at(one.value)-labelWidth, barHeight-6, color)
		svgText(&b, labelWidth-8, float64(y+12), "end", one.label)
		svgText(&b, axis.at(one.value)+5, float64(y+12), "start", compact(one.value))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// curve is a line of figures.
type curve struct {
	label string
	x, y  []float64
}

// curveChart draws figures over a logarithmic scale of what grows, as SVG. The
// other scale begins at 0, unless it is to be logarithmic too.
func curveChart(title, xUnit, yUnit string, logarithmic bool, curves []curve) string {
	colors := []string{"#2166ac", "#b2182b"}
	lowX, highX, lowY, highY := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, c := range curves {
		for i := range c.x {
			lowX, highX = min(lowX, c.x[i]), max(highX, c.x[i])
			lowY, highY = min(lowY, c.y[i]), max(highY, c.y[i])
		}
	}
	const bottom = plotHeight - margin
	x := newLogAxis(lowX, highX, margin+20, plotWidth-margin)
	y := axis{0, highY * 1.1, bottom, 40, false}
	if logarithmic {
		y = newLogAxis(lowY, highY, bottom, 40)
	}
	var b strings.Builder
	svgBegin(&b, plotHeight, title)
	for _, tick := range x.ticks() {
		fmt.Fprintf(&b, `<line x1="%.1f" y1="40" x2="%.1f" y2="%d" stroke="#ddd"/>`+"\n", x.at(tick), x.at(tick), bottom)
		svgText(&b, x.at(tick), bottom+16, "middle", compact(tick))
	}
	for _, tick := range y.ticks() {
		fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ddd"/>`+"\n", margin+20, y.at(tick), plotWidth-margin, y.at(tick))
		svgText(&b, margin+14, y.at(tick)+4, "end", compact(tick)+yUnit)
	}
	svgText(&b, plotWidth/2, bottom+36, "middle", xUnit)
	for n, c := range curves {
		color := colors[n%len(colors)]
		points := make([]string, len(c.x))
		for i := range c.x {
			points[i] = fmt.Sprintf("%.1f,%.1f", x.at(c.x[i]), y.at(c.y[i]))
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x.at(c.x[i]), y.at(c.y[i]), color)
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), color)
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="10" height="10" fill="%s"/>`+"\n", margin+20+160*n, plotHeight-14, color)
		svgText(&b, float64(margin+35+160*n), plotHeight-5, "start", c.label)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// axis maps values to places between from and to.
type axis struct {
	low, high, from, to float64
	logarithmic         bool
}

// newLogAxis is an axis from a power of ten to another.
func newLogAxis(low, high, from, to float64) axis {
	low, high = math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high)))
	if low == high {
		high *= 10
	}
	return axis{low, high, from, to, true}
}

func (a axis) at(value float64) float64 {
	low, high := a.low, a.high
	if a.logarithmic {
		value, low, high = math.Log10(value), math.Log10(low), math.Log10(high)
	}
	return a.from + (value-low)/(high-low)*(a.to-a.from)
}

// ticks are the values to name: the powers of ten, or about five round numbers.
func (a axis) ticks() (ticks []float64) {
	if a.logarithmic {
		for v := a.low; v <= a.high*1.001; v *= 10 {
			ticks = append(ticks, v)
		}
		return ticks
	}
	step := math.Pow(10, math.Floor(math.Log10(a.high-a.low)))
	for (a.high-a.low)/step < 4 {
		step /= 2
	}
	for v := a.low; v <= a.high; v += step {
		ticks = append(ticks, v)
	}
	return ticks
}

// compact writes a figure with three digits: 1,250,000 as 1.25M.
func compact(v float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= unit.size {
			return fmt.Sprintf("%.3g", v/unit.size) + unit.name
		}
	}
	return fmt.Sprintf("%.3g", v)
}

func svgBegin(b *strings.Builder, height int, title string) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, height, plotWidth, height)
	fmt.Fprintf(b, "<title>%s</title>\n", html.EscapeString(title))
	b.WriteString(`<rect width="100%" height="100%" fill="#fff"/>` + "\n")
	svgText(b, plotWidth/2, 20, "middle", title)
}

func svgText(b *strings.Builder, x, y float64, anchor, text string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, html.EscapeString(text))
}
