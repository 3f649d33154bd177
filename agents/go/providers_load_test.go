package wsstats

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// slowProcessor is a span processor that hangs until it is let go.
type slowProcessor struct {
	begun   chan struct{} // closed: it hangs
	release chan struct{}
}

func newSlowProcessor(t *testing.T) *slowProcessor {
	s := &slowProcessor{begun: make(chan struct{}), release: make(chan struct{})}
	t.Cleanup(s.letGo)
	return s
}

func (s *slowProcessor) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

func (s *slowProcessor) OnEnd(sdktrace.ReadOnlySpan) {
	select {
	case <-s.begun:
	default:
		close(s.begun)
	}
	<-s.release
}

func (s *slowProcessor) Shutdown(context.Context) error   { return nil }
func (s *slowProcessor) ForceFlush(context.Context) error { return nil }

func (s *slowProcessor) letGo() {
	select {
	case <-s.release:
	default:
		close(s.release)
	}
}

// Red when: an application waits for a span processor that hangs, the memory of
// what waits is not bounded, or what is dropped is not counted, or counted twice.
func TestProvidersThatHang(t *testing.T) {
	slow := newSlowProcessor(t)
	p := newProvided(t, []sdktrace.TracerProviderOption{sdktrace.WithSpanProcessor(slow)}, WithMaxQueueBytes(minQueueBytes), batchOf(8))
	conn := p.Observe(Opening{Role: RoleServer})
	result := inBackground(t, p.Flush)
	<-slow.begun

	began, slowest := time.Now(), time.Duration(0)
	for range 10_000 {
		call := time.Now()
		conn.Received(TextMessage, 128)
		slowest = max(slowest, time.Since(call))
	}
	assert.Less(t, time.Since(began), patience/2)
	assert.Less(t, slowest, patience/10)
	requireBalanced(t, p.Agent)
	s := p.Stats()
	assert.Greater(t, s.Dropped["queue_full"], uint64(9000))
	assert.Equal(t, uint64(10_001), s.Observed)
	assert.Zero(t, s.Acknowledged)
	p.mu.Lock()
	assert.LessOrEqual(t, p.ring.bytes, minQueueBytes)
	p.mu.Unlock()

	slow.letGo()
	require.NoError(t, <-result)
	conn.Closed(1000, "", Local)
	require.NoError(t, p.Shutdown(t.Context()))
	s = p.Stats()
	assert.Equal(t, s.Observed, s.Acknowledged+s.Dropped["queue_full"])
	points := pointsOf(t, p.reader)
	requirePoints(t, points, map[string]string{
		`ws.agent.dropped reason="queue_full"`:                              "{event} true " + strconv.FormatUint(s.Dropped["queue_full"], 10),
		"ws.messages.received ws.message.type=\"text\"\nws.role=\"server\"": "{message} true " + strconv.FormatUint(s.Acknowledged-2, 10),
		`ws.connections.active ws.role="server"`:                            "{connection} false 0",
	})
}

// Red when: Shutdown waits for a span processor for longer than its context, or
// what it could not hand over is not counted as dropped, once.
func TestShutdownOfProvidersThatHang(t *testing.T) {
	slow := newSlowProcessor(t)
	p := newProvided(t, []sdktrace.TracerProviderOption{sdktrace.WithSpanProcessor(slow)})
	conn := p.Observe(Opening{Role: RoleServer})
	for range 100 {
		conn.Received(TextMessage, 128)
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- p.Shutdown(ctx) }()
	<-slow.begun
	cancel()
	select {
	case err := <-result:
		require.ErrorIs(t, err, context.Canceled)
	case <-time.After(patience):
		require.FailNow(t, "Shutdown hangs")
	}
	s := p.Stats()
	assert.Equal(t, map[string]uint64{"shutdown": 101}, s.Dropped)
	slow.letGo()
	select {
	case <-p.done:
	case <-time.After(patience):
		require.FailNow(t, "the goroutine hangs")
	}
	assert.Equal(t, s, p.Stats())
	conn.Closed(1000, "", Local) // too late
	requireBalanced(t, p.Agent)
}

// Red when: Shutdown loses what was recorded before it while senders go on, or
// something is recorded after it.
func TestShutdownOfProvidersWithSenders(t *testing.T) {
	p := newProvided(t, []sdktrace.TracerProviderOption{derivedIDs}, WithMaxQueueBytes(256<<10))
	stop := make(chan struct{})
	var senders sync.WaitGroup
	for range 4 {
		conn := p.Observe(Opening{Role: RoleClient})
		senders.Go(func() {
			defer conn.Closed(1000, "", Local)
			for i := range 200_000 {
				select {
				case <-stop:
					return
				default:
				}
				conn.Sent(TextMessage, i)
			}
		})
	}
	requireSoon(t, func() bool { return p.Stats().Acknowledged > 1000 })
	require.NoError(t, p.Shutdown(t.Context()))
	made := len(p.exporter.GetSpans())
	s := p.Stats()
	assert.Equal(t, uint64(made), s.Acknowledged)
	close(stop)
	senders.Wait()
	assert.Len(t, p.exporter.GetSpans(), made)
	assert.Equal(t, s.Acknowledged, p.Stats().Acknowledged)
	requireBalanced(t, p.Agent)
}
