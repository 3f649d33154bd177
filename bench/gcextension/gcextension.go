// Package gcextension collects garbage in a collector when asked to, so that
// memory can be measured that is in use, and one measurement does not see what
// another one left.
package gcextension

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
)

// Config is the configuration of the extension.
type Config struct {
	// Endpoint is where any request collects garbage and gives free memory back to
	// the system before it is answered. Required: a loopback address.
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

// NewFactory returns the factory of the extension, type gc.
func NewFactory() extension.Factory {
	return extension.NewFactory(
		component.MustNewType("gc"),
		func() component.Config { return &Config{} },
		func(_ context.Context, _ extension.Settings, cfg component.Config) (extension.Extension, error) {
			return &gc{endpoint: cfg.(*Config).Endpoint}, nil
		},
		component.StabilityLevelDevelopment,
	)
}

type gc struct {
	endpoint string
	server   *http.Server
	done     chan struct{}
}

func (g *gc) Start(context.Context, component.Host) error {
	l, err := net.Listen("tcp", g.endpoint)
	if err != nil {
		return fmt.Errorf("gc: %w", err)
	}
	g.server = &http.Server{
		ReadHeaderTimeout: time.Second,
		Handler:           http.HandlerFunc(func(http.ResponseWriter, *http.Request) { debug.FreeOSMemory() }),
	}
	g.done = make(chan struct{})
	go func() {
		defer close(g.done)
		_ = g.server.Serve(l) // until Shutdown
	}()
	return nil
}

func (g *gc) Shutdown(ctx context.Context) error {
	if g.server == nil {
		return nil
	}
	err := g.server.Shutdown(ctx)
	<-g.done
	return err
}
