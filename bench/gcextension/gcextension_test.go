package gcextension

import (
	"net"
	"net/http"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension"
)

func TestItCollects(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	f := NewFactory()
	cfg := f.CreateDefaultConfig().(*Config)
	require.EqualError(t, cfg.Validate(), "endpoint: expected an address to listen on")
	cfg.Endpoint = l.Addr().String()
	require.NoError(t, cfg.Validate())
	e, err := f.Create(t.Context(), extension.Settings{ID: component.NewID(f.Type())}, cfg)
	require.NoError(t, err)
	require.NoError(t, e.Start(t.Context(), componenttest.NewNopHost()))

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+cfg.Endpoint, http.NoBody)
	require.NoError(t, err)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	runtime.ReadMemStats(&after)
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.Greater(t, after.NumForcedGC, before.NumForcedGC)

	again, err := f.Create(t.Context(), extension.Settings{ID: component.NewID(f.Type())}, cfg)
	require.NoError(t, err)
	assert.Error(t, again.Start(t.Context(), componenttest.NewNopHost()), "the address is taken")
	assert.NoError(t, again.Shutdown(t.Context()))
	require.NoError(t, e.Shutdown(t.Context()))
}
