package main

import (
	"net"
	"strconv"
)

// setup is the configuration of a collector, put together from pipelines.
type setup struct {
	receivers, processors, exporters, connectors, pipelines map[string]any

	addresses map[string]string // by what listens there
	err       error             // the first one
}

type settings = map[string]any

func newSetup() *setup {
	s := &setup{
		receivers: settings{}, processors: settings{}, connectors: settings{}, pipelines: settings{},
		exporters: settings{"nop": settings{}}, addresses: map[string]string{},
	}
	s.listen("telemetry")
	s.listen("probe")
	return s
}

// listen finds an address for what has that name.
func (s *setup) listen(name string) string {
	address, err := freeAddress()
	if err != nil && s.err == nil {
		s.err = err
	}
	s.addresses[name] = address
	return address
}

func (s *setup) pipeline(name, receiver string, processors, exporters []string) {
	s.pipelines[name] = settings{"receivers": []string{receiver}, "processors": processors, "exporters": exporters}
}

// otlp adds an OTLP receiver; it listens as NAME/grpc and NAME/http.
func (s *setup) otlp(name string) {
	s.receivers[name] = settings{"protocols": settings{
		"grpc": settings{"endpoint": s.listen(name + "/grpc")},
		"http": settings{"endpoint": s.listen(name + "/http")},
	}}
}

// otlpDuty makes of OTLP what the receiver does by itself: metrics of all
// messages, and a sample of the spans. Dimensions and interval are the receiver's.
func (s *setup) otlpDuty(name string, percentage float64) {
	s.otlp(name)
	s.connectors["spanmetrics"] = settings{
		"dimensions":             []settings{{"name": "ws.message.type"}, {"name": "ws.role"}, {"name": "ws.direction"}},
		"metrics_flush_interval": "10s",
	}
	s.processors["probabilistic_sampler"] = settings{"sampling_percentage": percentage}
	s.pipeline("traces/metrics", name, nil, []string{"spanmetrics"})
	s.pipeline("traces/sampled", name, []string{"probabilistic_sampler"}, []string{"nop"})
	s.pipeline("metrics/spanmetrics", "spanmetrics", nil, []string{"nop"})
}

// wsstats adds a receiver with traces and metrics. Limits on the number of agents
// would end modes with many of them from one address.
func (s *setup) wsstats(name string, ratio float64, layout, exporter string, more settings) {
	http := settings{"endpoint": s.listen(name)}
	for key, value := range more {
		http[key] = value
	}
	traces := settings{"sampling": settings{"ratio": ratio}}
	if layout != "" {
		traces["layout"] = layout
	}
	s.receivers[name] = settings{
		"http":   http,
		"traces": traces,
		"limits": settings{"sessions_per_address": 10_000},
	}
	s.pipeline("traces/"+pipelineName(name), name, nil, []string{exporter})
	s.pipeline("metrics/"+pipelineName(name), name, nil, []string{exporter})
}

// config is the whole configuration.
func (s *setup) config() settings {
	host, port, _ := net.SplitHostPort(s.addresses["telemetry"])
	number, _ := strconv.Atoi(port)
	return settings{
		"receivers": s.receivers, "processors": s.processors, "exporters": s.exporters, "connectors": s.connectors,
		"extensions": settings{"probe": settings{"endpoint": s.addresses["probe"]}},
		"service": settings{
			"extensions": []string{"probe"},
			"pipelines":  s.pipelines,
			"telemetry": settings{
				"logs": settings{"level": "warn"},
				"metrics": settings{"readers": []settings{{"pull": settings{"exporter": settings{"prometheus": settings{
					"host": host, "port": number,
				}}}}}},
			},
		},
	}
}

// pipelineName is the name of a component's pipelines: what is behind the slash.
func pipelineName(component string) string {
	for i := range component {
		if component[i] == '/' {
			return component[i+1:]
		}
	}
	return component
}
