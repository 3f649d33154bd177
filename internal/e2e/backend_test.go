package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

const (
	tracesPath  = "/v1/traces"
	metricsPath = "/v1/metrics"
)

// backend is what collectors export to by OTLP over HTTP. It takes, or answers
// as the test says.
type backend struct {
	*httptest.Server

	mu      sync.Mutex
	answer  func(path string) int                      // an HTTP status for a request, 200: take, or hangUp
	hold    chan struct{}                              // spans that are taken are answered once it is closed, nil: at once
	held    int                                        // requests that wait for it
	sift    func(http.Header, []span, pmetric.Metrics) // takes what would be kept, nil: it is kept
	taken   []span
	metered []pmetric.Metrics
}

// hangUp is an answer that is none: the connection ends, and nothing was taken.
const hangUp = 0

func startBackend(t *testing.T) *backend {
	t.Helper()
	b := &backend{answer: func(string) int { return http.StatusOK }}
	b.Server = httptest.NewServer(b)
	t.Cleanup(b.Close)
	return b
}

// answers sets how requests are answered from now on; one call at a time.
func (b *backend) answers(how func(path string) int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = how
}

func (b *backend) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the collector is gone
	}
	status, hold := b.judge(req.URL.Path, req.Header, body)
	if status == hangUp {
		panic(http.ErrAbortHandler)
	}
	if hold != nil {
		<-hold
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	w.WriteHeader(status)
}

func (b *backend) judge(path string, header http.Header, body []byte) (status int, hold chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if status = b.answer(path); status == http.StatusOK {
		status = b.take(path, header, body)
	}
	if path != tracesPath || b.hold == nil {
		return status, nil
	}
	b.held++
	return status, b.hold
}

// block lets requests with spans wait for their answers until release is called.
func (b *backend) block(t *testing.T) (release func()) {
	t.Helper()
	hold := make(chan struct{})
	release = sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.hold = nil
		close(hold)
	})
	t.Cleanup(release)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hold, b.held = hold, 0
	return release
}

// holds is block, and returns when n requests wait. An agent without a number in
// hand has none.
func (b *backend) holds(t *testing.T, n int) (release func()) {
	t.Helper()
	release = b.block(t)
	require.Eventually(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.held >= n
	}, waitTimeout, waitTick, "%d requests", n)
	return release
}

// take keeps a request: its Protobuf is the one of the data itself.
func (b *backend) take(path string, header http.Header, body []byte) (status int) {
	var spans []span
	metrics := pmetric.NewMetrics()
	switch path {
	case tracesPath:
		td, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(body)
		if err != nil {
			return http.StatusBadRequest
		}
		spans = spansOf(td)
	case metricsPath:
		md, err := (&pmetric.ProtoUnmarshaler{}).UnmarshalMetrics(body)
		if err != nil {
			return http.StatusBadRequest
		}
		metrics = md
	default:
		return http.StatusNotFound
	}
	switch {
	case b.sift != nil:
		b.sift(header, spans, metrics)
	case path == tracesPath:
		b.taken = append(b.taken, spans...)
	default:
		b.metered = append(b.metered, metrics)
	}
	return http.StatusOK
}

func (b *backend) spans() []span {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.taken
}

func (b *backend) metrics() []pmetric.Metrics {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.metered
}

// awaitSpans waits until so many are taken.
func (b *backend) awaitSpans(t *testing.T, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(b.spans()) >= n }, waitTimeout, waitTick, "%d spans", n)
}

// exporting are the changes that let a collector export to a backend, delta
// metrics too, with nothing between the two that would say yes before it does.
func exporting(b *backend) []string {
	return []string{
		"receivers::wsstats::metrics::temporality: delta",
		`exporters::otlp_http: {endpoint: "` + b.URL + `", compression: none, sending_queue: {enabled: false}, retry_on_failure: {enabled: false}}`,
		"service::pipelines::traces::exporters: [otlp_http]",
		"service::pipelines::metrics::exporters: [otlp_http]",
	}
}

// startSink starts a second collector, which takes OTLP at c.endpoint and
// writes it to files.
func startSink(t *testing.T) *collector {
	t.Helper()
	c := newCollector(t, "testdata/sink.yaml")
	c.start(t)
	return c
}
