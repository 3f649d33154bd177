package probeextension

import (
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/pprof"
	"testing"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension"
)

func TestItCollectsAndProfiles(t *testing.T) {
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

	get := func(path string) (int, []byte) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+cfg.Endpoint+path, http.NoBody)
		require.NoError(t, err)
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, errors.Join(err, resp.Body.Close()))
		return resp.StatusCode, body
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	status, _ := get("/gc")
	runtime.ReadMemStats(&after)
	assert.Equal(t, http.StatusOK, status)
	assert.Greater(t, after.NumForcedGC, before.NumForcedGC)

	status, body := get("/profile?for=10ms")
	assert.Equal(t, http.StatusOK, status)
	p, err := profile.ParseData(body)
	require.NoError(t, err)
	assert.Equal(t, "cpu", p.SampleType[1].Type)
	for _, length := range []string{"", "5", "-1s"} {
		status, body := get("/profile?for=" + length)
		assert.Equal(t, http.StatusBadRequest, status)
		assert.Equal(t, "for: expected a time such as \"5s\"\n", string(body))
	}
	require.NoError(t, pprof.StartCPUProfile(io.Discard))
	status, _ = get("/profile?for=10ms")
	assert.Equal(t, http.StatusConflict, status, "somebody else profiles")
	pprof.StopCPUProfile()

	again, err := f.Create(t.Context(), extension.Settings{ID: component.NewID(f.Type())}, cfg)
	require.NoError(t, err)
	assert.Error(t, again.Start(t.Context(), componenttest.NewNopHost()), "the address is taken")
	assert.NoError(t, again.Shutdown(t.Context()))
	require.NoError(t, e.Shutdown(t.Context()))
}
