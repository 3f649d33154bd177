package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
)

// Names of peers that goals and gates speak of.
const (
	nameGRPC       = "OTLP gRPC"
	nameGRPCGzip   = "OTLP gRPC, gzip"
	nameHTTP       = "OTLP HTTP"
	nameHTTPJSON   = "OTLP HTTP, JSON"
	nameZipkin     = "Zipkin v2, JSON"
	nameDuty       = "OTLP gRPC + spanmetrics + 1 % sampler"
	nameDutyGzip   = "OTLP gRPC, gzip + spanmetrics + 1 % sampler"
	nameJSON       = "wsstats JSON"
	nameColumns    = "wsstats columns"
	nameDerivedIDs = "wsstats columns, derived ids"
)

const (
	layoutFlat  = "flat"
	layoutScope = "scope"
)

// named is the name of a receiver's variant.
func named(form string, ratio float64, layout string) string {
	spans := "all spans"
	if ratio < 1 {
		spans = fmt.Sprintf("%g %% of spans", ratio*100)
	}
	return fmt.Sprintf("%s, %s, %s", form, spans, layout)
}

// layouts are those of the receiver's spans.
var layouts = []string{layoutFlat, layoutScope}

// compareAll compares the transports: every peer, the receiver with all spans and
// with 1 % of them, in every layout and form.
func (r *run) compareAll(ctx context.Context) error {
	random, err := r.payloads(ctx)
	if err != nil {
		return err
	}
	derived, err := newScript(newDataset(r.seed, usual, true), formColumns)
	if err != nil {
		return err
	}
	s := newSetup()
	s.otlp("otlp")
	s.pipeline("traces/otlp", "otlp", nil, []string{"nop"})
	s.receivers["zipkin"] = settings{"endpoint": s.listen("zipkin")}
	s.pipeline("traces/zipkin", "zipkin", nil, []string{"nop"})

	peers := append(otlpPeers(s, random), newHTTPPeer(
		peer{name: nameZipkin, events: usual.events, counter: acceptedSpans("zipkin")},
		httpClient{
			url: "http://" + s.addresses["zipkin"] + "/api/v2/spans", contentType: "application/json",
			status: http.StatusAccepted, bodies: random.zipkin, check: checkNothing,
		},
	))
	for _, layout := range layouts {
		for _, ratio := range []float64{1, 0.01} {
			receiver := fmt.Sprintf("wsstats/%s_%g", layout, ratio)
			s.wsstats(receiver, ratio, layout, "nop", nil)
			peers = append(
				peers,
				wsstatsPeer(s, receiver, named(nameJSON, ratio, layout), random.json),
				wsstatsPeer(s, receiver, named(nameColumns, ratio, layout), random.columns),
			)
			if layout == layoutFlat {
				peers = append(peers, wsstatsPeer(s, receiver, named(nameDerivedIDs, ratio, layout), derived))
			}
		}
	}
	r.report.Sampled = random.dataset.sampled(0.01)
	r.report.MessageBytes = map[string]float64{
		"random": random.columns.bytesPerEvent(), "derived": derived.bytesPerEvent(), "gzip": meanBytes(random.gzip, usual.events),
	}
	r.report.Compare, err = r.compare(ctx, s, peers)
	return err
}

// compareDuty compares equal duties: metrics of all messages and 1 % of the spans.
func (r *run) compareDuty(ctx context.Context) error {
	data, err := r.payloads(ctx)
	if err != nil {
		return err
	}
	s := newSetup()
	s.otlpDuty("otlp", 1)
	s.wsstats("wsstats", 0.01, "", "nop", nil)
	address := s.addresses["otlp/grpc"]
	peers := []peer{
		newGRPCPeer(peer{name: nameDuty, baseline: true, events: usual.events, counter: acceptedSpans("otlp")}, address, data.otlp, false),
		newGRPCPeer(peer{name: nameDutyGzip, events: usual.events, counter: acceptedSpans("otlp")}, address, data.gzip, true),
		wsstatsPeer(s, "wsstats", named(nameJSON, 0.01, layoutFlat), data.json),
		wsstatsPeer(s, "wsstats", named(nameColumns, 0.01, layoutFlat), data.columns),
	}
	r.report.Duty, err = r.compare(ctx, s, peers)
	return err
}

func otlpPeers(s *setup, data *payloads) []peer {
	grpc, web := s.addresses["otlp/grpc"], "http://"+s.addresses["otlp/http"]+"/v1/traces"
	counter := acceptedSpans("otlp")
	return []peer{
		newGRPCPeer(peer{name: nameGRPC, baseline: true, events: usual.events, counter: counter}, grpc, data.otlp, false),
		newGRPCPeer(peer{name: nameGRPCGzip, events: usual.events, counter: counter}, grpc, data.gzip, true),
		newHTTPPeer(peer{name: nameHTTP, events: usual.events, counter: counter}, httpClient{
			url: web, contentType: "application/x-protobuf", status: http.StatusOK, bodies: data.otlp, check: checkOTLPProto,
		}),
		newHTTPPeer(peer{name: nameHTTPJSON, events: usual.events, counter: counter}, httpClient{
			url: web, contentType: "application/json", status: http.StatusOK, bodies: data.otlpJSON, check: checkOTLPJSON,
		}),
	}
}

func wsstatsPeer(s *setup, receiver, name string, sc *script) peer {
	// All receivers count together, and one at a time has work.
	return newWsstatsPeer(peer{name: name, counter: counter{metric: "otelcol_receiver_wsstats_events"}}, s.addresses[receiver], sc)
}

// acceptedSpans is what a receiver says by the collector's common means.
func acceptedSpans(receiver string) counter {
	return counter{metric: "otelcol_receiver_accepted_spans", labels: []string{`receiver="` + receiver + `"`}}
}

// compare runs the peers that were asked for against one collector.
func (r *run) compare(ctx context.Context, s *setup, peers []peer) (_ []result, err error) {
	c, err := r.start(ctx, s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	return compare(ctx, c, r.chosen(peers), r.timing, rand.New(rand.NewPCG(r.seed, 2)), r.progress)
}

// chosen are the peers that were asked for.
func (r *run) chosen(peers []peer) []peer {
	return slices.DeleteFunc(peers, func(p peer) bool { return r.only != nil && !r.only.MatchString(p.name) })
}

// meanBytes is the size of a batch's body, for each event.
func meanBytes(bodies [][]byte, events int) float64 {
	total := 0
	for _, body := range bodies {
		total += len(body)
	}
	return float64(total) / float64(len(bodies)*events)
}
