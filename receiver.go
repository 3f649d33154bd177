package wsstatsreceiver

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.uber.org/zap"

	"github.com/wsstats/wsstatsreceiver/internal/aggregate"
	"github.com/wsstats/wsstatsreceiver/internal/delivery"
	"github.com/wsstats/wsstatsreceiver/internal/metadata"
	"github.com/wsstats/wsstatsreceiver/internal/observed"
	"github.com/wsstats/wsstatsreceiver/wire"
)

// maxAwayInstances bounds the memory for agents that are gone.
const maxAwayInstances = 100_000

// wsstatsReceiver is the receiver of one configuration, for both signals.
type wsstatsReceiver struct {
	cfg         *Config
	settings    receiver.Settings
	logger      *zap.Logger
	nextTraces  consumer.Traces
	nextMetrics consumer.Metrics

	telemetry  *metadata.TelemetryBuilder
	obs        *receiverhelper.ObsReport
	translator *translator
	aggregator *aggregate.Aggregator
	resolve    observed.Options
	threshold  uint64 // of traces.sampling.ratio
	budget     *delivery.Budget
	inHand     *translations
	workers    *workers
	decoders   sync.Pool // of *wire.Decoder
	instances  *delivery.Registry[*agent]
	sessions   sessionSet
	orphans    orphans
	gate       gate
	status     statusReporter

	host      component.Host
	server    *http.Server
	startOnce sync.Once
	stopOnce  sync.Once
	startErr  error
	stopErr   error
	running   sync.WaitGroup  // the server and the loops
	ctx       context.Context // of the background loop
	cancel    context.CancelFunc
	stop      chan struct{}

	// Replaced by tests.
	now          func() time.Time
	random       func([]byte)
	writeTimeout time.Duration
}

func newReceiver(cfg *Config, set receiver.Settings) (*wsstatsReceiver, error) {
	r := &wsstatsReceiver{
		cfg:       cfg,
		settings:  set,
		logger:    set.Logger,
		threshold: wire.ThresholdFromRatio(cfg.Traces.Sampling.Ratio),
		budget:    delivery.NewBudget(int64(cfg.Delivery.BudgetBytes)),
		stop:      make(chan struct{}),
		now:       time.Now,
		random:    func(b []byte) { _, _ = crand.Read(b) }, // never fails

		writeTimeout: defaultWriteTimeout,
	}
	r.inHand = newTranslations(r.budget)
	r.workers = newWorkers(r.stop)
	r.ctx, r.cancel = context.WithCancel(context.Background())
	var err error
	if r.telemetry, err = metadata.NewTelemetryBuilder(set.TelemetrySettings); err != nil {
		return nil, fmt.Errorf("build telemetry: %w", err)
	}
	r.obs, err = receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{
		ReceiverID: set.ID, Transport: "websocket", LongLivedCtx: true, ReceiverCreateSettings: set,
	})
	if err != nil {
		return nil, fmt.Errorf("build obsreport: %w", err)
	}
	r.decoders.New = func() any { return r.newDecoder() }
	r.translator = newTranslator(cfg, set.BuildInfo.Version)
	r.instances = delivery.NewRegistry(maxAwayInstances, cfg.Delivery.ResumeGrace, cfg.Delivery.DedupeTTL, func(key delivery.Key) *agent {
		return r.newAgent(key.Instance)
	})
	return r, nil
}

// Start listens. It is called once a signal and starts once.
func (r *wsstatsReceiver) Start(ctx context.Context, host component.Host) error {
	r.startOnce.Do(func() { r.startErr = r.start(ctx, host) })
	return r.startErr
}

func (r *wsstatsReceiver) start(ctx context.Context, host component.Host) error {
	r.host = host
	r.status.host = host
	r.prepare()
	if err := r.observeSelf(); err != nil {
		return err
	}

	server, err := r.newServer(ctx, host)
	if err != nil {
		return err
	}
	listener, err := r.cfg.HTTP.ToListener(ctx)
	if err != nil {
		return fmt.Errorf("listen on http::endpoint %q: %w", r.cfg.HTTP.NetAddr.Endpoint, err)
	}
	r.server = server
	r.sessions.addr = listener.Addr()
	r.running.Go(func() { r.serve(listener) })
	r.running.Go(r.background)
	r.running.Go(r.keepalive)
	r.logger.Info("listening for agents", zap.Stringer("address", listener.Addr()), zap.String("path", r.cfg.Path))
	return nil
}

// prepare makes what turns messages into spans and metrics.
func (r *wsstatsReceiver) prepare() {
	r.resolve = observed.Options{
		Traces:           r.nextTraces != nil,
		ConnectionTraces: r.cfg.Traces.Mode == scopeConnection,
		Threshold:        r.threshold,
		ConnectionScope:  r.cfg.Traces.Sampling.Scope == scopeConnection,
		ErrorCloseCodes:  make(map[int64]struct{}),
		AllowURLQuery:    r.cfg.AllowURLQuery,
		MaxConnections:   r.cfg.Limits.Connections,
		ClosedTTL:        r.cfg.Delivery.DedupeTTL,
		Random:           func(b []byte) { r.random(b) },
	}
	for _, code := range r.cfg.Traces.ErrorCloseCodes {
		r.resolve.ErrorCloseCodes[code] = struct{}{}
	}
	r.aggregator = aggregate.New(aggregate.Config{
		Delta:            r.cfg.Metrics.Temporality == delta,
		Exponential:      r.cfg.Metrics.Histogram == exponential,
		Dimensions:       r.cfg.Metrics.Dimensions,
		CardinalityLimit: r.cfg.Metrics.CardinalityLimit,
		MaxResources:     r.cfg.Metrics.MaxResources,
		Expiration:       r.cfg.Metrics.Expiration,
		ReceiverID:       receiverID(r.settings),
		Conventions:      aggregate.Conventions(r.cfg.Conventions),
		AllowURLQuery:    r.cfg.AllowURLQuery,
	}, metadata.ScopeName, r.settings.BuildInfo.Version, func() time.Time { return r.now() })
}

// serve takes agents until the server is shut down.
func (r *wsstatsReceiver) serve(listener net.Listener) {
	if err := r.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		componentstatus.ReportStatus(r.host, componentstatus.NewFatalErrorEvent(fmt.Errorf("serve agents: %w", err)))
	}
}

// receiverID makes the series of this collector its own.
func receiverID(set receiver.Settings) string {
	if v, ok := set.Resource.Attributes().Get("service.instance.id"); ok {
		return v.AsString()
	}
	return ""
}

// background flushes cumulative metrics and gives up agents that stay away.
func (r *wsstatsReceiver) background() {
	flush := time.NewTicker(r.cfg.Metrics.FlushInterval)
	defer flush.Stop()
	sweep := time.NewTicker(max(10*time.Millisecond, min(time.Second, r.cfg.Delivery.ResumeGrace/4)))
	defer sweep.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-flush.C:
			r.flush(r.ctx)
		case <-sweep.C:
			r.sweep(r.ctx)
		}
	}
}

// keepalive sees to the sessions, also while the background waits for a pipeline.
func (r *wsstatsReceiver) keepalive() {
	tick := time.NewTicker(keepaliveTick(r.cfg.Keepalive))
	defer tick.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-tick.C:
			r.sessions.tend()
		}
	}
}

// flush hands the cumulative metrics on. Where they are refused the next flush has them too.
func (r *wsstatsReceiver) flush(ctx context.Context) {
	if r.nextMetrics == nil {
		return
	}
	if md := r.aggregator.Flush(); md.DataPointCount() > 0 {
		if err := r.consumeMetrics(ctx, md, new(time.Duration)); err != nil && !errors.Is(err, errStopped) {
			r.logger.Warn("metrics were refused, the next flush repeats them", zap.Error(err))
		}
	}
}

// Shutdown refuses new agents, lets sessions finish what is in hand, hands the
// last metrics on and frees the port. It works before Start and twice.
// Nothing is consumed after it returns.
func (r *wsstatsReceiver) Shutdown(ctx context.Context) error {
	r.stopOnce.Do(func() {
		shared.remove(r.cfg)
		r.stopErr = r.shutdown(ctx)
	})
	return r.stopErr
}

func (r *wsstatsReceiver) shutdown(ctx context.Context) error {
	defer r.telemetry.Shutdown()
	defer r.cancel()
	if r.server == nil {
		return nil
	}
	r.sessions.drain()
	err := r.server.Shutdown(ctx)
	drained := r.sessions.wait(ctx)
	close(r.stop)
	drained = drained && r.waitForBackground(ctx)
	if !drained {
		// The deadline is over: what is not acknowledged is the agents' to send again.
		r.gate.close()
		r.sessions.abort()
		return errors.Join(err, fmt.Errorf("the pipeline was still busy at the deadline: %w", context.Cause(ctx)))
	}
	r.sweepOrphans(ctx)
	r.leaveAll(ctx)
	r.flush(ctx)
	r.gate.close()
	return err
}

// waitForBackground returns false where the context ends before the server and
// the background loop do.
func (r *wsstatsReceiver) waitForBackground(ctx context.Context) bool {
	done := make(chan struct{})
	go func() {
		r.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// gate keeps calls of the next consumer from beginning after Shutdown returned.
type gate struct {
	mu     sync.Mutex
	closed bool
}

func (g *gate) open() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.closed
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// statusReporter reports the component's status when it changes.
type statusReporter struct {
	host    component.Host
	mu      sync.Mutex
	failing bool
}

func (s *statusReporter) report(err error) {
	if consumererror.IsPermanent(err) {
		return // it is about that data: the pipeline may be well, or still fail
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil && !s.failing:
		componentstatus.ReportStatus(s.host, componentstatus.NewRecoverableErrorEvent(err))
	case err == nil && s.failing:
		componentstatus.ReportStatus(s.host, componentstatus.NewEvent(componentstatus.StatusOK))
	}
	s.failing = err != nil
}
