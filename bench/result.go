package main

// result is what was measured of a peer: medians over the windows, and how far
// they are apart.
type result struct {
	Peer     string `json:"peer"`
	Baseline bool   `json:"baseline,omitempty"`

	CPU       spread `json:"cpu"`       // ns of the collector an event
	Rate      spread `json:"rate"`      // events a second of a core: what CPU allows
	Busy      spread `json:"busy"`      // part of the window that the collector ran
	Sent      spread `json:"sent"`      // bytes an event, to the collector
	Received  spread `json:"received"`  // bytes an event, from the collector
	P50       spread `json:"p50"`       // s to the acknowledgement
	P99       spread `json:"p99"`       // s to the acknowledgement
	Allocated spread `json:"allocated"` // bytes an event
	Peak      spread `json:"peak"`      // resident bytes
}

func resultOf(p *peer, windows []*window) result {
	over := func(value func(w *window) float64) spread {
		values := make([]float64, len(windows))
		for i, w := range windows {
			values[i] = value(w)
		}
		return spreadOf(values)
	}
	return result{
		Peer: p.name, Baseline: p.baseline,
		CPU:       over(func(w *window) float64 { return float64(w.cpu) / w.events }),
		Rate:      over(func(w *window) float64 { return w.events / w.cpu.Seconds() }),
		Busy:      over(func(w *window) float64 { return w.cpu.Seconds() / w.end.Sub(w.begin).Seconds() }),
		Sent:      over(func(w *window) float64 { return float64(w.sent) / w.events }),
		Received:  over(func(w *window) float64 { return float64(w.received) / w.events }),
		P50:       over(func(w *window) float64 { return percentile(w.latencies, 0.5) }),
		P99:       over(func(w *window) float64 { return percentile(w.latencies, 0.99) }),
		Allocated: over(func(w *window) float64 { return w.allocated / w.events }),
		Peak:      over(func(w *window) float64 { return float64(w.peak) }),
	}
}
