package wsstatsreceiver

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// talker is the agent of a case.
type talker struct {
	receiver *wsstatsReceiver
	url      string
	twins    [][]byte // what is sent instead of the messages, in the binary form; nil: they are sent
	conn     *websocket.Conn
	replies  []json.RawMessage
	last     uint64 // the highest number that was sent
	closed   bool   // by the receiver
}

// talk sends the messages and collects the replies; a close of the receiver is
// written as {"close":code}. A numbered message is answered before the next one
// is sent, so that no two acks are merged.
func (s *talker) talk(t *testing.T, v *vector) {
	t.Helper()
	s.connect(t)
	defer func() { _ = s.conn.Close() }()
	for i, m := range v.Messages {
		text, reconnect := messageText(t, m)
		if reconnect {
			s.disconnect(t)
			s.connect(t)
			continue
		}
		var twin []byte
		if s.twins != nil {
			twin = s.twins[i]
		}
		s.say(t, text, twin)
		if s.closed {
			return
		}
	}
	if v.closes() {
		s.readUntil(t, "close", 0)
		return
	}
	// The answer to one more number says that all before it is done.
	sync := wire.Message{Form: wire.FormBatch, Batch: wire.Batch{Seq: s.last + 1}}
	twin, err := new(wire.ProtoEncoder).Append(nil, &sync)
	require.NoError(t, err)
	s.say(t, wire.AppendJSON(nil, &sync), twin)
	s.replies = s.replies[:len(s.replies)-1]
	if v.End == "disconnect" {
		s.disconnect(t)
	}
}

func (s *talker) connect(t *testing.T) {
	t.Helper()
	subprotocol := wire.SubprotocolJSON
	if s.twins != nil {
		subprotocol = wire.SubprotocolProto
	}
	dialer := websocket.Dialer{Subprotocols: []string{subprotocol}, HandshakeTimeout: 5 * time.Second}
	conn, resp, err := dialer.DialContext(t.Context(), s.url, http.Header{})
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	s.conn = conn
}

// disconnect closes the session and waits until the receiver has let go of it.
func (s *talker) disconnect(t *testing.T) {
	t.Helper()
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	require.NoError(t, s.conn.WriteMessage(websocket.CloseMessage, bye))
	require.Eventually(t, func() bool { return s.receiver.sessions.len() == 0 }, 5*time.Second, time.Millisecond)
	require.NoError(t, s.conn.Close())
}

// say sends a message, or its twin, and, where it has one, reads its answer.
func (s *talker) say(t *testing.T, text, twin []byte) {
	t.Helper()
	var m struct {
		Seq   uint64          `json:"seq"`
		Hello json.RawMessage `json:"hello"`
	}
	_ = json.Unmarshal(text, &m) // it need not be JSON
	s.last = max(s.last, m.Seq)
	if s.twins != nil {
		require.NoError(t, s.conn.WriteMessage(websocket.BinaryMessage, twin))
	} else {
		require.NoError(t, s.conn.WriteMessage(websocket.TextMessage, text))
	}
	switch {
	case m.Hello != nil:
		s.readUntil(t, "welcome", 0)
	case m.Seq != 0:
		s.readUntil(t, "ack", m.Seq)
	}
}

// messageText is the message as it is sent: {"raw":"..."} stands for a text of
// any form, {"reconnect":true} for the end of the session and a new one.
func messageText(t *testing.T, m json.RawMessage) (text []byte, reconnect bool) {
	t.Helper()
	var step struct {
		Raw       *string `json:"raw"`
		Reconnect bool    `json:"reconnect"`
	}
	_ = json.Unmarshal(m, &step) // an array is none of them
	if step.Raw != nil {
		return []byte(*step.Raw), false
	}
	return m, step.Reconnect
}

// readUntil reads replies up to the one that is waited for, or to the close.
func (s *talker) readUntil(t *testing.T, what string, seq uint64) {
	t.Helper()
	for {
		_, data, err := s.conn.ReadMessage()
		if closing := (*websocket.CloseError)(nil); errors.As(err, &closing) {
			reply, err := json.Marshal(map[string]int{"close": closing.Code})
			require.NoError(t, err)
			s.replies, s.closed = append(s.replies, reply), true
			return
		}
		require.NoError(t, err)
		var reply wire.Reply
		require.NoError(t, json.Unmarshal(data, &reply))
		if reply.Flow != nil {
			continue // a heartbeat
		}
		s.replies = append(s.replies, data)
		switch what {
		case "welcome":
			if reply.Welcome != nil || reply.Error != nil {
				return
			}
		case "ack":
			if reply.Ack == seq || reply.Nack == seq {
				return
			}
		}
	}
}
