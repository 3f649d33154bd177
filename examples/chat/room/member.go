package room

import (
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// member is one connection of the server. Its room and user belong to the
// goroutine that reads.
type member struct {
	server *Server
	conn   *websocket.Conn
	outbox chan Message

	room, user string
}

// serve reads until the connection ends, with a goroutine beside it that writes.
func (m *member) serve() {
	done := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() { m.write(done) })

	m.conn.SetReadLimit(maxMessageBytes)
	m.conn.SetPongHandler(func(string) error { return m.alive() })
	for err := m.alive(); err == nil; {
		var kind int
		var data []byte
		if kind, data, err = m.conn.ReadMessage(); err == nil && kind == websocket.TextMessage {
			m.server.handle(m, data)
		}
	}

	m.server.remove(m)
	close(done)
	writer.Wait()
}

// alive gives the peer time until the next sign of life.
func (m *member) alive() error {
	return m.conn.SetReadDeadline(time.Now().Add(3 * m.server.pingEvery))
}

// write sends what is posted, and pings, until done. It is the only writer of messages.
func (m *member) write(done <-chan struct{}) {
	ping := time.NewTicker(m.server.pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-done:
			return
		case msg := <-m.outbox:
			if m.send(msg) != nil {
				m.conn.Close() // ends the reading too
				return
			}
			m.server.sent.Add(1)
		case <-ping.C:
			if m.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeWait)) != nil {
				m.conn.Close()
				return
			}
		}
	}
}

func (m *member) send(msg Message) error {
	if err := m.conn.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
		return err
	}
	return m.conn.WriteJSON(msg)
}

// post never blocks: a member that does not read is cut, so that it cannot
// hold up the room.
func (m *member) post(msg Message) {
	select {
	case m.outbox <- msg:
	default:
		m.conn.Close()
	}
}

// goAway asks the peer to close. It is cut where that cannot be said.
func (m *member) goAway() {
	bye := websocket.FormatCloseMessage(websocket.CloseGoingAway, "server is closing")
	if m.conn.WriteControl(websocket.CloseMessage, bye, time.Now().Add(writeWait)) != nil {
		m.conn.Close()
	}
}
