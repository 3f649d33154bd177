package wsstatsreceiver

import (
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumererror"
)

// statusHost remembers the status that the receiver reports.
type statusHost struct {
	component.Host
	mu     sync.Mutex
	events []*componentstatus.Event
}

func (h *statusHost) Report(e *componentstatus.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

func (h *statusHost) reported() []componentstatus.Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []componentstatus.Status
	for _, e := range h.events {
		all = append(all, e.Status())
	}
	return all
}

// The status follows the pipeline, and is reported when it changes alone. What
// is refused for good is about that data: the pipeline is as well as it was.
func TestStatus(t *testing.T) {
	host := &statusHost{Host: componenttest.NewNopHost()}
	full, bad := errors.New("full"), consumererror.NewPermanent(errors.New("bad"))
	r := startReceiver(t, testOptions{host: host, traces: &scriptedConsumer{errs: []error{nil, bad, full, bad, full, nil, bad, nil, full}}})
	a := r.dial(nil)
	for i, want := range [][]componentstatus.Status{
		nil,
		nil,
		{componentstatus.StatusRecoverableError},
		{componentstatus.StatusRecoverableError},
		{componentstatus.StatusRecoverableError},
		{componentstatus.StatusRecoverableError, componentstatus.StatusOK},
		{componentstatus.StatusRecoverableError, componentstatus.StatusOK},
		{componentstatus.StatusRecoverableError, componentstatus.StatusOK},
		{componentstatus.StatusRecoverableError, componentstatus.StatusOK, componentstatus.StatusRecoverableError},
	} {
		a.send(batch(i+1, "c", i+1))
		reply := a.reply()
		assert.Equal(t, want, host.reported(), "after %+v", reply)
		if reply.Retryable { // the number has to come again: another session is simpler
			_ = a.conn.Close()
			a = r.dial(nil)
		}
	}
	assert.Equal(t, full, host.events[0].Err())
}

// Where the server fails, the collector has to know.
func TestFailingServerIsFatal(t *testing.T) {
	host := &statusHost{Host: componenttest.NewNopHost()}
	r := startReceiver(t, testOptions{host: host})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	r.serve(listener)
	require.Equal(t, []componentstatus.Status{componentstatus.StatusFatalError}, host.reported())
	assert.ErrorContains(t, host.events[0].Err(), "serve agents: ")
	assert.ErrorIs(t, host.events[0].Err(), net.ErrClosed)
}

// A shutdown is no failure.
func TestShutdownReportsNoStatus(t *testing.T) {
	host := &statusHost{Host: componenttest.NewNopHost()}
	r := startReceiver(t, testOptions{host: host})
	r.stopNow()
	assert.Empty(t, host.reported())
}
