package wsstats_test

import (
	"errors"
	"net/netip"
	"time"

	"github.com/gorilla/websocket"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// A library that is not on net/http is observed by an adapter, which tells the
// agent what it sees.
func ExampleAgent_Observe() {
	_ = func(agent *wsstats.Agent, started time.Time, ws *websocket.Conn) error {
		peer, _ := netip.ParseAddrPort(ws.RemoteAddr().String()) // left out where it is none
		conn := agent.Observe(wsstats.Opening{
			Role:       wsstats.RoleServer,
			URL:        "ws://example.com/chat",
			Peer:       peer,
			Start:      started,
			Attributes: []wsstats.Attribute{wsstats.String("user.id", "u-17")},
		})
		for {
			_, payload, err := ws.ReadMessage()
			if err != nil {
				code, initiator := websocket.CloseAbnormalClosure, wsstats.None
				var closed *websocket.CloseError
				if errors.As(err, &closed) {
					code, initiator = closed.Code, wsstats.Remote
				}
				conn.Closed(code, "", initiator)
				return err
			}
			conn.Received(wsstats.TextMessage, len(payload), wsstats.String("room.id", "lobby"))
		}
	}
}
