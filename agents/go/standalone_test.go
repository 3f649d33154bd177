package wsstats

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// Red when: Handler's agent does not have its options, or Shutdown leaves one of
// several agents out, or does not wait for what they hold.
func TestStandaloneHandlers(t *testing.T) {
	refusing := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	peers := map[string]*peer{}
	for _, service := range []string{"chat", "admin"} {
		r := newReceiver(t, encodings[EncodingProto], nil)
		h := Handler(refusing, WithEndpoint(r.endpoint()), WithServiceName(service), WithLogger(slog.New(slog.DiscardHandler)))
		peers[service] = r.welcomed(0)

		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, upgradeRequest())
		require.Equal(t, http.StatusForbidden, answer.Code)
	}

	ended := inBackground(t, Shutdown)
	for service, p := range peers {
		resource := map[string]string{}
		for _, kv := range p.hello.Resource {
			resource[kv.Key] = kv.Value.Str
		}
		assert.Equal(t, service, resource["service.name"])
		b := p.batch(1)
		require.Len(t, b.Events, 1)
		assert.Equal(t, wire.KindHandshake, b.Events[0].Kind)
		select {
		case err := <-ended:
			require.FailNow(t, "shutdown did not wait", "%v", err)
		default:
		}
		p.ack(1)
	}
	require.NoError(t, <-ended)
	require.NoError(t, <-inBackground(t, Shutdown), "it is asked for twice")
}

// Red when: a wrong option breaks the application, or nobody is told.
func TestStandaloneHandlerWithAWrongOption(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })

	next := http.NewServeMux()
	assert.Same(t, next, Handler(next, WithEndpoint("http://localhost:4390")))
	assert.Contains(t, log.String(), "level=ERROR")
	assert.Contains(t, log.String(), "expected the scheme ws or wss")
}
