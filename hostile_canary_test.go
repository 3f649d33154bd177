package wsstatsreceiver

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension/extensionauth"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// Secrets are looked for in everything that the receiver puts out, with
// everything switched on but what is there to let them through.
func TestHostileSecrets(t *testing.T) {
	const canary = "canary-7f3a"
	encoded := base64.RawURLEncoding.EncodeToString([]byte(canary))
	for _, conventions := range []Conventions{ConventionsWS, ConventionsDup, ConventionsSemconv} {
		eachEncoding(t, func(t *testing.T, e encoding) {
			core, logs := observer.New(zap.DebugLevel)
			tel := componenttest.NewTelemetry()
			r := startReceiver(t, testOptions{tel: tel, logger: zap.New(core), host: talkativeHost(canary), config: func(cfg *Config) {
				authenticate(cfg)
				cfg.HTTP.IncludeMetadata = true
				cfg.Conventions = conventions
				cfg.Metrics.Temporality = delta
				cfg.Metrics.Dimensions = []string{"room.id"}
				cfg.Compression = true
			}})
			var outputs []string
			event := func(kind string) string {
				return `{"event":"` + kind + `","ws.connection.id":"c","ws.role":"client","ws.url":"wss://u:` + canary + `@example.com/chat?t=` + canary + `#` + canary +
					`","http.url":"https://` + canary + `@example.com/?t=` + canary + `","ws.message.size":1,"ws.message.seq":1,"room.id":"lobby","ws.handshake.success":true}`
			}
			// Good credentials, in each way.
			for i, tt := range []struct{ path, protocol, header string }{
				{"", "", "Authorization: Bearer " + canary},
				{"?token=" + canary, "", "Cookie: session=" + canary},
				{"", ", " + bearerPrefix + encoded, "X-Api-Key: " + canary},
			} {
				c := r.rawDialAt(t, r.cfg.Path+tt.path, "Sec-WebSocket-Protocol: "+e.subprotocol+tt.protocol, tt.header)
				h := &hostile{T: t, r: r, encoding: e, client: c}
				outputs = append(outputs, fmt.Sprint(c.upgraded))
				h.say(fmt.Sprintf(`{"hello":{"instance":"i%d"}}`, i))
				outputs = append(outputs, c.next())
				h.say(`{"seq":1,"connections":[{"ws.connection.id":"d","ws.url":"ws://` + canary + `@x/?` + canary + `"}],"events":[` +
					event("handshake") + `,` + event("send") + `,` + event("receive") + `,` + event("close") + `]}`)
				outputs = append(outputs, c.next())
				h.leave()
				outputs = append(outputs, c.conversation()...)
			}
			// Bad ones, and requests that come to nothing.
			header := http.Header{"Authorization": {"Bearer not-" + canary}, "Content-Type": {"text/plain"}}
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut} {
				got := r.request(method, r.cfg.Path+"?token=not-"+canary, header, event("send"))
				assert.Equal(t, http.StatusUnauthorized, got.status)
				outputs = append(outputs, fmt.Sprint(got))
			}
			header.Set("Authorization", "Bearer "+canary)
			header.Set("Origin", "https://"+canary+".test")
			outputs = append(outputs, fmt.Sprint(r.request(http.MethodGet, r.cfg.Path+"?t="+canary, header, "")))
			header.Del("Origin")
			outputs = append(
				outputs,
				fmt.Sprint(r.request(http.MethodPost, r.cfg.Path+"?t="+canary, header, event("send"))),
				fmt.Sprint(r.request(http.MethodPost, "/elsewhere?t="+canary, header, "")),
			)
			require.Eventually(t, func() bool { return r.traces.SpanCount() == 3*4+1 }, waitFor, pollEvery)
			r.stopNow()

			outputs = append(outputs, pdataText(t, r)...)
			outputs = append(outputs, selfTelemetry(t, tel)...)
			outputs = append(outputs, toJSON(t, logs.All()))
			require.Greater(t, len(outputs), 20)
			for _, output := range outputs {
				assert.NotContains(t, output, canary)
				assert.NotContains(t, output, encoded)
			}
			assert.Contains(t, strings.Join(outputs, ""), "example.com/chat", "what is left of the URL is there")
		})
	}
}

// talkativeHost knows one token and tells it to everybody who knows it not.
func talkativeHost(token string) *authHost {
	return &authHost{extension: extensionauth.ServerAuthenticateFunc(func(ctx context.Context, sources map[string][]string) (context.Context, error) {
		stated := http.Header(sources).Get("Authorization")
		if stated == "Bearer "+token || stated == "" && fmt.Sprint(sources["token"]) == "["+token+"]" {
			return ctx, nil
		}
		return ctx, errors.New(stated + " is not " + token)
	})}
}

// pdataText is all that the pipeline got.
func pdataText(t *testing.T, r *testReceiver) (texts []string) {
	t.Helper()
	for _, td := range r.traces.AllTraces() {
		b, err := (&ptrace.JSONMarshaler{}).MarshalTraces(td)
		require.NoError(t, err)
		texts = append(texts, string(b))
	}
	for _, md := range r.metrics.AllMetrics() {
		b, err := (&pmetric.JSONMarshaler{}).MarshalMetrics(md)
		require.NoError(t, err)
		texts = append(texts, string(b))
	}
	return texts
}

// selfTelemetry is all that the receiver tells of itself: spans and metrics,
// those of the server too.
func selfTelemetry(t *testing.T, tel *componenttest.Telemetry) (texts []string) {
	t.Helper()
	for _, span := range tel.SpanRecorder.Ended() {
		texts = append(texts, fmt.Sprint(span.Name(), span.Attributes(), span.Events(), span.Status()))
	}
	var all metricdata.ResourceMetrics
	require.NoError(t, tel.Reader.Collect(context.Background(), &all))
	return append(texts, fmt.Sprintf("%+v", all))
}
