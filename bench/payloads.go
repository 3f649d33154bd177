package main

import (
	"context"
	"fmt"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

// payloads are the same events as all peers write them.
type payloads struct {
	dataset       *dataset
	json, columns *script
	spans         []ptrace.Traces // what the receiver makes of the events
	otlp, gzip    [][]byte
	otlpJSON      [][]byte
	zipkin        [][]byte
}

// newPayloads encodes a set of events for everybody.
func newPayloads(ctx context.Context, d *dataset) (*payloads, error) {
	p := &payloads{dataset: d}
	var err error
	if p.json, err = newScript(d, formJSON); err != nil {
		return nil, err
	}
	if p.columns, err = newScript(d, formColumns); err != nil {
		return nil, err
	}
	if p.spans, err = spans(ctx, p.json, nil); err != nil {
		return nil, fmt.Errorf("making spans of the events: %w", err)
	}
	for _, e := range []struct {
		bodies *[][]byte
		encode func(ptrace.Traces) ([]byte, error)
	}{{&p.otlp, otlpProto}, {&p.gzip, zipped}, {&p.otlpJSON, otlpJSON}, {&p.zipkin, zipkinJSON}} {
		if *e.bodies, err = encodeSpans(p.spans, e.encode); err != nil {
			return nil, err
		}
	}
	return p, nil
}
