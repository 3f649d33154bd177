package wsstatsreceiver

import (
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pipeline"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/wsstats/wsstatsreceiver/wire"
)

func TestConsumeContract(t *testing.T) {
	for _, signal := range []pipeline.Signal{pipeline.SignalTraces, pipeline.SignalMetrics} {
		t.Run(signal.String(), func(t *testing.T) {
			cfg := createDefaultConfig().(*Config)
			cfg.HTTP.NetAddr.Endpoint = freeAddress(t)
			cfg.Metrics.Temporality = delta
			cfg.Metrics.Dimensions = []string{receivertest.UniqueIDAttrName}
			receivertest.CheckConsumeContract(receivertest.CheckConsumeContractParams{
				T: t, Factory: NewFactory(), Signal: signal, Config: cfg, GenerateCount: 100, // each retry sends all that is left: the square of it
				Generator: &contractAgent{t: t, url: "ws://" + cfg.HTTP.NetAddr.Endpoint + cfg.Path},
			})
		})
	}
}

// freeAddress is of a port that was free just now. The check starts one
// receiver after another on it.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}

// contractAgent is an agent as the protocol asks for: it sends ahead, keeps
// what is not acknowledged, goes back where a number is refused for now, gives
// up what is refused for good, and keeps its numbers across restarts.
type contractAgent struct {
	t   *testing.T
	url string

	mu      sync.Mutex
	conn    *websocket.Conn
	seq     uint64 // the last one
	waiting []contractMessage
	reading sync.WaitGroup
}

type contractMessage struct {
	seq  uint64
	data []byte
}

func (g *contractAgent) Start() {
	conn, resp, err := websocket.DefaultDialer.Dial(g.url, nil)
	require.NoError(g.t, err)
	_ = resp.Body.Close()
	require.NoError(g.t, conn.WriteMessage(websocket.TextMessage, []byte(`{"hello":{"instance":"contract"}}`)))
	_, data, err := conn.ReadMessage()
	require.NoError(g.t, err)
	reply, err := wire.DecodeReply(data)
	require.NoError(g.t, err)
	require.NotNil(g.t, reply.Welcome)

	g.mu.Lock()
	defer g.mu.Unlock()
	g.conn = conn
	g.reading.Go(func() { g.read(conn) })
}

func (g *contractAgent) Stop() {
	_ = g.conn.Close()
	g.reading.Wait()
}

func (g *contractAgent) Generate() []receivertest.UniqueIDAttrVal {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seq++
	id := fmt.Sprintf("id-%d", g.seq)
	message := contractMessage{g.seq, fmt.Appendf(nil, `{"seq":%d,"events":[{"event":"send","ws.message.size":5,"%s":"%s"}]}`, g.seq, receivertest.UniqueIDAttrName, id)}
	g.waiting = append(g.waiting, message)
	g.write(message)
	return []receivertest.UniqueIDAttrVal{receivertest.UniqueIDAttrVal(id)}
}

func (g *contractAgent) write(m contractMessage) {
	if err := g.conn.WriteMessage(websocket.TextMessage, m.data); err != nil {
		g.t.Errorf("write %d: %v", m.seq, err)
	}
}

func (g *contractAgent) read(conn *websocket.Conn) {
	for {
		_, data, err := conn.ReadMessage()
		if err != nil {
			return
		}
		reply, err := wire.DecodeReply(data)
		if err != nil {
			g.t.Errorf("read: %v", err)
			return
		}
		g.mu.Lock()
		switch {
		case reply.Ack != 0:
			g.answered(reply.Ack)
		case reply.Nack != 0 && reply.Retryable:
			g.answered(reply.Nack - 1)
			for _, m := range g.waiting { // at once, which is impolite and quick
				g.write(m)
			}
		case reply.Nack != 0:
			g.answered(reply.Nack)
		}
		g.mu.Unlock()
	}
}

// answered forgets all messages up to the number.
func (g *contractAgent) answered(seq uint64) {
	for len(g.waiting) > 0 && g.waiting[0].seq <= seq {
		g.waiting = g.waiting[1:]
	}
}
