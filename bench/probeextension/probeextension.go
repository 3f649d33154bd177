// Package probeextension lets a benchmark look into a collector: it collects
// garbage when asked to, so that memory can be measured that is in use and one
// measurement does not see what another one left, and it profiles.
package probeextension

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"runtime/pprof"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
)

// Config is the configuration of the extension.
type Config struct {
	// Endpoint is where GET /gc collects garbage and gives free memory back to the
	// system, and GET /profile?for=5s answers with a CPU profile of that time, in the
	// format of pprof. Required: a loopback address.
	Endpoint string `mapstructure:"endpoint"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// Validate asks for an endpoint.
func (cfg *Config) Validate() error {
	if cfg.Endpoint == "" {
		return errors.New("endpoint: expected an address to listen on")
	}
	return nil
}

// NewFactory returns the factory of the extension, type probe.
func NewFactory() extension.Factory {
	return extension.NewFactory(
		component.MustNewType("probe"),
		func() component.Config { return &Config{} },
		func(_ context.Context, _ extension.Settings, cfg component.Config) (extension.Extension, error) {
			return &probe{endpoint: cfg.(*Config).Endpoint}, nil
		},
		component.StabilityLevelDevelopment,
	)
}

type probe struct {
	endpoint string
	server   *http.Server
	done     chan struct{}
}

func (p *probe) Start(context.Context, component.Host) error {
	l, err := net.Listen("tcp", p.endpoint)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /gc", func(http.ResponseWriter, *http.Request) { debug.FreeOSMemory() })
	mux.HandleFunc("GET /profile", serveProfile)
	p.server = &http.Server{ReadHeaderTimeout: time.Second, Handler: mux}
	p.done = make(chan struct{})
	go func() {
		defer close(p.done)
		_ = p.server.Serve(l) // until Shutdown
	}()
	return nil
}

// serveProfile answers with a CPU profile. The collector runs one at a time.
func serveProfile(w http.ResponseWriter, r *http.Request) {
	length, err := time.ParseDuration(r.FormValue("for"))
	if err != nil || length <= 0 {
		http.Error(w, `for: expected a time such as "5s"`, http.StatusBadRequest)
		return
	}
	if err := pprof.StartCPUProfile(w); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	defer pprof.StopCPUProfile()
	select {
	case <-time.After(length):
	case <-r.Context().Done():
	}
}

func (p *probe) Shutdown(ctx context.Context) error {
	if p.server == nil {
		return nil
	}
	err := p.server.Shutdown(ctx)
	<-p.done
	return err
}
