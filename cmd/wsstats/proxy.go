package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

const (
	// A client that sends its request's head more slowly is no client.
	headTimeout = 10 * time.Second
	// Longer than what the usual load balancers keep an idle connection for.
	idleTimeout = 2 * time.Minute
	// How long the last events may take to the collector.
	flushTimeout = 5 * time.Second
)

const proxyAbout = `Stands before an application and reports what happens on its WebSockets, in any
language and without a change to it. All requests go to the target; frames are
forwarded byte for byte, and of their payload nothing is kept.

On SIGTERM or SIGINT it accepts nothing more, gives what is open the time of
--drain to end, and closes the rest. A second signal ends it at once. The
bearer token for the collector is the environment's WSSTATS_TOKEN.
`

// proxyOptions are the flags of proxy.
type proxyOptions struct {
	listen    string
	target    string
	collector string
	service   string
	drain     time.Duration
	record    string
	most      int // open WebSockets, 0: any number

	cert, key      string // of the listener; both or none
	ca             string
	insecure       bool
	trustForwarded bool

	url      *url.URL     // target
	incoming *tls.Config  // nil: plain HTTP
	outgoing *tls.Config  // for the target and the collector
	log      *slog.Logger // to the standard error
}

func proxyFlags(o *proxyOptions) *flag.FlagSet {
	flags := newFlags("proxy")
	flags.StringVar(&o.listen, "listen", "localhost:8080", "`address` to listen on, such as :8080")
	flags.StringVar(&o.target, "target", "", "`URL` of the application: http or https, a host and a port; needed")
	flags.StringVar(&o.collector, "collector", "", "`URL` of the receiver, ws or wss (default WSSTATS_ENDPOINT of the environment, else ws://localhost:4390/v1/wsstats)")
	flags.StringVar(&o.service, "service-name", "", "service.`name` of what is reported (default OTEL_SERVICE_NAME of the environment)")
	flags.DurationVar(&o.drain, "drain", 30*time.Second, "`time` that open requests and WebSockets have to end after SIGTERM")
	flags.StringVar(&o.record, "record", "", "`file` that all events are appended to, for wsstats replay")
	flags.IntVar(&o.most, "max-connections", 0, "`number` of WebSockets that may be open at once, 0 for any: those beyond are answered 503")
	flags.StringVar(&o.cert, "cert", "", "PEM `file` of the certificate, and its chain, to listen with TLS")
	flags.StringVar(&o.key, "key", "", "PEM `file` of the certificate's key")
	flags.StringVar(&o.ca, "ca", "", "PEM `file` of authorities to trust for the target and the collector, beside the system's")
	flags.BoolVar(&o.insecure, "insecure-skip-verify", false, "take any certificate of the target")
	flags.BoolVar(&o.trustForwarded, "trust-forwarded", false, "keep the Forwarded and X-Forwarded headers that come in; a proxy before this one has to set them")
	return flags
}

func parseProxy(args []string, std streams) (*proxyOptions, error) {
	o := &proxyOptions{log: slog.New(slog.NewTextHandler(std.err, nil))}
	flags := proxyFlags(o)
	if err := parseFlags(flags, args, 0, func() { printHelp(flags, "", proxyAbout, std.out) }); err != nil {
		return nil, err
	}
	var err error
	o.url, err = url.Parse(o.target)
	switch {
	case o.target == "":
		return nil, usage("proxy: --target: expected the application's URL, such as http://localhost:3000")
	case err != nil, o.url.Scheme != "http" && o.url.Scheme != "https", o.url.Host == "", o.url.User != nil,
		o.url.Path != "" && o.url.Path != "/", o.url.RawQuery != "", o.url.Fragment != "":
		return nil, usage("proxy: --target: expected http or https, a host and a port alone, such as http://localhost:3000")
	case o.drain < 0:
		return nil, usage("proxy: --drain: expected a time such as 30s, got %s", o.drain)
	case o.most < 0:
		return nil, usage("proxy: --max-connections: expected at least 0, got %d", o.most)
	case (o.cert == "") != (o.key == ""):
		return nil, usage("proxy: --cert and --key: expected both or none")
	}
	if o.incoming, err = listenerTLS(o.cert, o.key, o.log); err != nil {
		return nil, err
	}
	if o.outgoing, err = clientTLS(o.ca); err != nil {
		return nil, err
	}
	return o, nil
}

// runProxy forwards until the context ends, and drains.
func runProxy(ctx context.Context, args []string, std streams) (err error) {
	o, err := parseProxy(args, std)
	if err != nil {
		return err
	}
	options := []wsstats.Option{
		wsstats.WithServiceName(o.service), wsstats.WithLogger(o.log), wsstats.WithTLSConfig(o.outgoing),
	}
	if o.collector != "" {
		options = append(options, wsstats.WithEndpoint(o.collector))
	}
	if o.record != "" {
		file, err := openRecording(o.record)
		if err != nil {
			return fmt.Errorf("proxy: --record: %w", err)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		options = append(options, wsstats.WithRecorder(file))
	}
	agent, err := wsstats.NewAgent(options...)
	if err != nil {
		return usage("proxy: %w", err)
	}
	p := newProxy(o, agent.Handler)
	defer p.report(agent)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	return p.serve(ctx, listener)
}

// openRecording opens a file that nobody else may read: it tells who talked to
// whom, and when.
func openRecording(path string) (io.WriteCloser, error) {
	return os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
}

// report hands over what the agent holds, and tells what became of everything.
func (p *proxy) report(agent *wsstats.Agent) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	_ = agent.Shutdown(ctx) // what it left is counted as dropped
	s := agent.Stats()
	total := counts{dropped: s.Dropped}
	p.o.log.Info("ended", "observed", s.Observed, "acknowledged", s.Acknowledged, "rejected", s.Rejected,
		"dropped", total.lost(), "unrecorded", s.Unrecorded, "turned_away", p.limit.turnedAway.Load())
}

// proxy is the server. Its requests are counted, so that it can wait for
// WebSockets, which net/http has handed over and does not know any more.
type proxy struct {
	o      *proxyOptions
	server *http.Server
	open   inFlight
	limit  *limiter
	cut    context.CancelFunc // ends all requests
	close  func()             // lets go of the idle connections to the target
}

// newProxy makes a proxy whose handler is observed by tap.
func newProxy(o *proxyOptions, tap func(http.Handler) http.Handler) *proxy {
	p := &proxy{o: o}
	ctx, cut := context.WithCancel(context.Background())
	p.cut = cut
	f := newForwarder(o)
	p.close = f.transport.CloseIdleConnections
	p.limit = &limiter{next: f, most: o.most}
	handler := tap(p.limit)
	p.server = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p.open.begin()
			defer p.open.end()
			handler.ServeHTTP(w, r)
		}),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		TLSConfig:         o.incoming,
		ReadHeaderTimeout: headTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(o.log.Handler(), slog.LevelWarn),
	}
	return p
}

// serve forwards until the context ends, and then drains.
func (p *proxy) serve(ctx context.Context, listener net.Listener) error {
	ended := make(chan error, 1)
	go func() {
		if p.o.incoming != nil {
			ended <- p.server.ServeTLS(listener, "", "")
			return
		}
		ended <- p.server.Serve(listener)
	}()
	p.o.log.Info("listening", "address", listener.Addr().String(), "target", p.o.url.String())
	var err error
	select {
	case err = <-ended:
		err = fmt.Errorf("proxy: %w", err) // the listener's
		p.drain(0)
	case <-ctx.Done():
		p.drain(p.o.drain)
		if closed := <-ended; !errors.Is(closed, http.ErrServerClosed) {
			err = fmt.Errorf("proxy: %w", closed)
		}
	}
	return err
}

// drain gives what is open time to end, and ends the rest.
func (p *proxy) drain(patience time.Duration) {
	defer p.close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p.o.log.Info("draining", "open", p.open.count(), "patience", patience.String())
	_ = p.server.Shutdown(ctx) // its error is the context's
	if !p.open.wait(ctx) {
		p.o.log.Warn("closing what is still open", "open", p.open.count())
	}
	p.cut()
	_ = p.server.Close()
	p.open.wait(context.Background())
}
