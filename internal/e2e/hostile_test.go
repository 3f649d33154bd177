package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// talkative is a collector with all switched on that tells something: logs,
// metrics and spans of its own, its pages, and every exporter that writes text.
type talkative struct {
	*collector

	zpages  string // host:port
	backend *ear   // of the pipelines
	own     *ear   // of the collector's own spans
}

func newTalkative(t *testing.T, changes ...string) *talkative {
	t.Helper()
	c := &talkative{zpages: freePorts(t, 1)[0], backend: newEar(t), own: newEar(t)}
	c.collector = newCollector(t, "testdata/collector.yaml", append([]string{
		"extensions::zpages: {endpoint: " + c.zpages + ", expvar: {enabled: true}}",
		"service::extensions: [health_check, zpages]",
		"service::telemetry::logs: {level: debug, sampling: {enabled: false}}",
		"service::telemetry::metrics::level: detailed",
		`service::telemetry::traces: {level: detailed, processors: [{simple: {exporter: {otlp: {protocol: http/protobuf, endpoint: "` + c.own.URL + tracesPath + `"}}}}]}`,
		"exporters::debug::verbosity: detailed",
		`exporters::otlp_http: {endpoint: "` + c.backend.URL + `", compression: none}`,
		"service::pipelines::traces::exporters: [file/traces, debug, otlp_http]",
		"service::pipelines::metrics::exporters: [file/metrics, debug, otlp_http, prometheus]",
	}, changes...)...)
	return c
}

// ear is a backend that keeps what it hears, byte for byte.
type ear struct {
	*httptest.Server

	heard lockedBuffer
}

func newEar(t *testing.T) *ear {
	t.Helper()
	e := new(ear)
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e
}

func (e *ear) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the collector is gone
	}
	_, _ = fmt.Fprintf(&e.heard, "%s %s %v\n%s\n", req.Method, req.URL, req.Header, body)
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// outputs is all that came out, by where.
type outputs map[string]string

// tell reads every page of the collector, stops it, and adds what it wrote.
func (c *talkative) tell(t *testing.T) outputs {
	t.Helper()
	out := outputs{
		"its own metrics":     page(t, c.telemetry+"/metrics"),
		"prometheus exporter": page(t, c.prometheus+"/metrics"),
		"health check":        page(t, c.health),
	}
	for _, name := range []string{
		"servicez", "extensionz", "featurez", "expvarz", "tracez",
		"pipelinez?zpipelinename=traces&zcomponentname=wsstats&zcomponentkind=receiver",
	} {
		out[name] = page(t, c.zpages+"/debug/"+name)
	}
	// The collector's own spans are named after methods, and kept by how long they took.
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		for bucket := range 9 {
			out["samples of tracez"] += page(t, fmt.Sprintf("%s/debug/tracez?zspanname=%s&ztype=1&zlatencybucket=%d", c.zpages, method, bucket))
		}
	}
	c.stop(t)
	out["log"] = c.logs.String()
	out["backend"] = c.backend.heard.String()
	out["its own spans"] = c.own.heard.String()
	files, err := os.ReadDir(string(c.output))
	require.NoError(t, err)
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(string(c.output), file.Name()))
		require.NoError(t, err)
		out[file.Name()] = string(content)
	}
	return out
}

// page is a page with its header.
func page(t *testing.T, address string) string {
	t.Helper()
	resp, err := get(t.Context(), "http://"+address)
	require.NoError(t, err)
	answer := readAnswer(t, resp)
	require.Equal(t, http.StatusOK, answer.status, address)
	return fmt.Sprint(resp.Header, answer.body)
}

// awaitPrometheus waits until a page of metrics has this text.
func awaitPrometheus(t *testing.T, endpoint, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(page(t, endpoint+"/metrics"), text) }, waitTimeout, waitTick, text)
}

// assertHas is the other half of assertWithout: what may come out is found in
// the same way, in each of these places.
func (o outputs) assertHas(t *testing.T, innocent string, places ...string) {
	t.Helper()
	for _, place := range places {
		if !strings.Contains(o[place], innocent) { // assert.Contains would print all of it
			assert.Fail(t, "not found", "%q, in %s, %d bytes", innocent, place, len(o[place]))
		}
	}
}

// assertWithout looks for secrets in everything.
func (o outputs) assertWithout(t *testing.T, secrets map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		for _, form := range disguises(secrets[name]) {
			for place, text := range o {
				if at := strings.Index(text, form); at >= 0 {
					assert.Fail(t, "a secret came out", "%s, in %s, as %q: %q", name, place, form, text[max(0, at-100):min(len(text), at+len(form)+100)])
				}
			}
		}
	}
}

// newSecret is something that is nowhere but where it was put.
func newSecret() string { return rand.Text() }

// disguises are the forms that a secret is looked for in: as it is, as bytes in
// hex and decimals, and within Base64, behind any number of other bytes.
func disguises(secret string) []string {
	decimals := fmt.Sprintf("%d", []byte(secret))
	forms := []string{secret, hex.EncodeToString([]byte(secret)), decimals[1 : len(decimals)-1]}
	for before := range 3 {
		encoded := base64.StdEncoding.EncodeToString(append(make([]byte, before), secret...))
		// Only digits whose 6 bits are all of the secret.
		whole := encoded[(before*8+5)/6 : (before+len(secret))*8/6]
		forms = append(forms, whole, strings.NewReplacer("+", "-", "/", "_").Replace(whole))
	}
	return forms
}

func TestDisguises(t *testing.T) {
	secret := newSecret()
	for before := range 6 {
		text := strings.Repeat("a", before) + secret + "b"
		for name, output := range map[string]string{
			"plain":       text,
			"Base64":      base64.StdEncoding.EncodeToString([]byte(text)),
			"Base64, URL": base64.RawURLEncoding.EncodeToString([]byte(text)),
			"hex":         hex.EncodeToString([]byte(text)),
			"bytes":       fmt.Sprintf("%d", []byte(text)),
		} {
			found := slices.ContainsFunc(disguises(secret), func(form string) bool { return strings.Contains(output, form) })
			assert.True(t, found, "%s, behind %d others", name, before)
		}
	}
}

// talker is an agent by hand.
type talker struct {
	*testing.T
	ws *websocket.Conn
}

// talk connects to the receiver at an URL.
func talk(t *testing.T, url string, header http.Header) *talker {
	t.Helper()
	dialer := websocket.Dialer{HandshakeTimeout: waitTimeout, Subprotocols: []string{wire.SubprotocolJSON}}
	ws, resp, err := dialer.Dial(url, header)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	t.Cleanup(func() { _ = ws.Close() })
	return &talker{T: t, ws: ws}
}

func (c *talker) say(text string) {
	c.Helper()
	require.NoError(c, c.ws.WriteMessage(websocket.TextMessage, []byte(text)))
}

// next is the next answer that is not a heartbeat.
func (c *talker) next() wire.Reply {
	c.Helper()
	for {
		require.NoError(c, c.ws.SetReadDeadline(time.Now().Add(waitTimeout)))
		_, data, err := c.ws.ReadMessage()
		require.NoError(c, err)
		reply, err := wire.DecodeReply(bytes.Clone(data))
		require.NoError(c, err)
		if reply.Flow == nil {
			return reply
		}
	}
}
