package room

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves a chat and returns it with a function that lets a client in.
func start(t *testing.T, pingEvery time.Duration) (*Server, func() *Client) {
	t.Helper()
	server := NewServer(pingEvery)
	web := httptest.NewServer(server)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		require.NoError(t, server.Shutdown(ctx))
		web.Close()
	})
	url := "ws" + strings.TrimPrefix(web.URL, "http")
	return server, func() *Client {
		client, err := Dial(t.Context(), websocket.DefaultDialer, url)
		require.NoError(t, err)
		t.Cleanup(client.Drop)
		return client
	}
}

func join(t *testing.T, c *Client, room, user string) {
	t.Helper()
	require.NoError(t, c.Join(room, user))
	await(t, c, TypeJoined, user)
}

func await(t *testing.T, c *Client, messageType, user string) Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	msg, err := c.Await(ctx, messageType, user)
	require.NoError(t, err)
	return msg
}

func TestRoomHearsJoinTalkAndLeave(t *testing.T) {
	server, enter := start(t, time.Minute)
	ada, grace, other := enter(), enter(), enter()
	join(t, ada, "lobby", "ada")
	join(t, other, "library", "other")
	join(t, grace, "lobby", "grace")
	await(t, ada, TypeJoined, "grace")

	require.NoError(t, grace.Talk("hello"))
	want := Message{Type: TypeTalk, Room: "lobby", User: "grace", Text: "hello"}
	require.Equal(t, want, await(t, ada, TypeTalk, "grace"))
	require.Equal(t, want, await(t, grace, TypeTalk, "grace"))

	require.NoError(t, grace.Leave())
	await(t, grace, TypeLeft, "grace")
	await(t, ada, TypeLeft, "grace")

	// The other room has heard nothing of it: its own next message is its next.
	require.NoError(t, other.Talk("still here"))
	await(t, other, TypeTalk, "other")
	require.Equal(t, Counts{Connections: 1, Sent: 2, Received: 2}, other.Counts())

	require.NoError(t, grace.Talk("hello?"))
	require.Equal(t, "join a room first", await(t, grace, TypeError, "").Text)

	require.Eventually(t, func() bool { return server.Counts().Sent == 10 }, 5*time.Second, time.Millisecond)
	require.Equal(t, Counts{Connections: 3, Sent: 10, Received: 7}, server.Counts())
}

func TestServerRefusesNonsense(t *testing.T) {
	_, enter := start(t, time.Minute)
	c := enter()
	for _, tc := range []struct {
		name, data, want string
	}{
		{"not JSON", `hello`, "expected a JSON object"},
		{"unknown type", `{"type":"shout"}`, "type must be join, talk or leave"},
		{"no room", `{"type":"join","user":"ada"}`, "join needs a room and a user"},
		{"no user", `{"type":"join","room":"lobby"}`, "join needs a room and a user"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.NoError(t, c.conn.WriteMessage(websocket.TextMessage, []byte(tc.data)))
			require.Equal(t, tc.want, await(t, c, TypeError, "").Text)
		})
	}
}

func TestPingSeesItsPong(t *testing.T) {
	_, enter := start(t, time.Minute)
	c := enter()
	rtt, err := c.Ping(t.Context())
	require.NoError(t, err)
	require.Positive(t, rtt)
}

func TestDroppedMemberLeavesTheRoom(t *testing.T) {
	_, enter := start(t, time.Minute)
	ada, ken := enter(), enter()
	join(t, ada, "lobby", "ada")
	join(t, ken, "lobby", "ken")
	ken.Drop()
	await(t, ada, TypeLeft, "ken")
}

func TestSilentMemberIsGivenUp(t *testing.T) {
	_, enter := start(t, 20*time.Millisecond)
	ada, ken := enter(), enter()
	join(t, ada, "lobby", "ada")
	ken.conn.SetPingHandler(func(string) error { return nil }) // reads, but never answers
	join(t, ken, "lobby", "ken")
	await(t, ada, TypeLeft, "ken")
}

func TestCloseIsAnswered(t *testing.T) {
	_, enter := start(t, time.Minute)
	c := enter()
	require.NoError(t, c.Close(t.Context()))
	require.True(t, websocket.IsCloseError(c.err, websocket.CloseNormalClosure), c.err)
	require.NoError(t, c.Close(t.Context()), "again")
}

func TestShutdownSendsEverybodyAway(t *testing.T) {
	server, enter := start(t, time.Minute)
	c := enter()
	url := "ws://" + c.conn.RemoteAddr().String()
	join(t, c, "lobby", "ada")
	require.NoError(t, server.Shutdown(t.Context()))
	<-c.ended
	require.True(t, websocket.IsCloseError(c.err, websocket.CloseGoingAway), c.err)

	_, err := Dial(t.Context(), websocket.DefaultDialer, url)
	require.ErrorContains(t, err, "503")
}

func TestShutdownCutsWhoStays(t *testing.T) {
	server := NewServer(time.Minute)
	web := httptest.NewServer(server)
	defer web.Close()
	conn, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(web.URL, "http"), nil)
	require.NoError(t, err)
	defer conn.Close() // never reads: it does not answer the close
	require.Eventually(t, func() bool { return server.Counts().Connections == 1 }, 5*time.Second, time.Millisecond)

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, server.Shutdown(ctx), context.DeadlineExceeded)
}
