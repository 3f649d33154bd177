package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

const maxScrape = 16 << 20

var httpClient = &http.Client{
	Timeout:   5 * time.Second,
	Transport: &http.Transport{DisableKeepAlives: true},
}

// families are the metrics of one scrape, by name.
type families map[string]*dto.MetricFamily

// scrape reads a Prometheus endpoint.
func scrape(ctx context.Context, url string) (families, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("scrape: %w", err)
	}
	req.Header.Set("Accept", "text/plain;version=0.0.4")
	resp, err := httpClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("scrape: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("scrape %s: %s", url, resp.Status)
	}
	return parseMetrics(io.LimitReader(resp.Body, maxScrape))
}

func parseMetrics(text io.Reader) (families, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	all, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return nil, fmt.Errorf("read Prometheus text: %w", err)
	}
	return all, nil
}

// sum adds up the series of a metric that have all the labels, given in pairs.
// The metric is named as in OpenTelemetry; Prometheus has underscores, and the
// unit and the type at the end. Of a histogram it adds up sums and counts.
func (f families) sum(metric string, labels ...string) (total float64, count uint64) {
	prefix := strings.ReplaceAll(metric, ".", "_")
	for name, family := range f {
		if name != prefix && !strings.HasPrefix(name, prefix+"_") {
			continue
		}
		for _, m := range family.Metric {
			if !hasLabels(m, labels) {
				continue
			}
			switch {
			case m.Histogram != nil:
				total += m.Histogram.GetSampleSum()
				count += m.Histogram.GetSampleCount()
			case m.Counter != nil:
				total += m.Counter.GetValue()
			case m.Gauge != nil:
				total += m.Gauge.GetValue()
			case m.Untyped != nil:
				total += m.Untyped.GetValue()
			}
		}
	}
	return total, count
}

func hasLabels(m *dto.Metric, pairs []string) bool {
	for i := 0; i+1 < len(pairs); i += 2 {
		found := false
		for _, label := range m.Label {
			if label.GetName() == pairs[i] && label.GetValue() == pairs[i+1] {
				found = true
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// numbers is the table of one service.
type numbers struct {
	active, opened, normal, abnormal float64
	sent, received, bytes, errors    float64
	meanSize                         float64       // bytes
	handshake, ping                  time.Duration // means
}

// of reads the table of a service, or of all for "".
func (f families) of(service string) numbers {
	var job []string
	if service != "" {
		job = []string{"job", service}
	}
	sum := func(metric string, labels ...string) float64 {
		total, _ := f.sum(metric, append(labels, job...)...)
		return total
	}
	mean := func(metric string) float64 {
		total, count := f.sum(metric, job...)
		if count == 0 {
			return 0
		}
		return total / float64(count)
	}
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	return numbers{
		active:    sum("ws.connections.active"),
		opened:    sum("ws.connections.total"),
		normal:    sum("ws.connections.closed", "ws_close_class", "normal"),
		abnormal:  sum("ws.connections.closed", "ws_close_class", "abnormal"),
		sent:      sum("ws.messages.sent"),
		received:  sum("ws.messages.received"),
		bytes:     sum("ws.messages.bytes"),
		errors:    sum("ws.errors"),
		meanSize:  mean("ws.message.size"),
		handshake: seconds(mean("ws.handshake.duration")),
		ping:      seconds(mean("ws.ping.rtt")),
	}
}

// complete tells whether the table has all that the story is about.
func (n numbers) complete() bool {
	return n.opened > 0 && n.normal > 0 && n.abnormal > 0 && n.sent > 0 && n.received > 0 && n.bytes > 0 && n.handshake > 0
}
