package main

import (
	"context"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wsstats/wsstatsreceiver/examples/chat/room"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func startRoom(t *testing.T) (*room.Server, string) {
	t.Helper()
	chat := room.NewServer(time.Minute)
	web := httptest.NewServer(chat)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		require.NoError(t, chat.Shutdown(ctx))
		web.Close()
	})
	return chat, "ws" + strings.TrimPrefix(web.URL, "http")
}

func TestCrowdPlaysTheSameSceneEachTime(t *testing.T) {
	chat, url := startRoom(t)
	c := &crowd{out: io.Discard, url: url, dialer: websocket.DefaultDialer, members: 3}
	require.NoError(t, c.run(t.Context(), []string{"lobby", "library"}, 2, 0))

	// A scene of three: 3 joins, 9 lines and 2 leaves are sent. Heard are
	// 1+2+3 joins, 9 times 3 lines, the dead one by 2, leaving by 2 and by 1.
	const scenes = 2 * 2
	require.Equal(t, crowdCounts{
		Counts: room.Counts{Connections: 3 * scenes, Sent: 14 * scenes, Received: 38 * scenes},
		Pings:  3 * scenes, Closed: 2 * scenes, Dropped: scenes,
	}, c.counts)
	// The server counts what it has sent: some time after that was heard.
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		server := chat.Counts()
		assert.Equal(t, c.counts.Sent, server.Received)
		assert.Equal(t, c.counts.Received, server.Sent)
		assert.Equal(t, c.counts.Connections, server.Connections)
	}, 5*time.Second, time.Millisecond)
}

func TestCrowdLeavesWhenStopped(t *testing.T) {
	chat, url := startRoom(t)
	c := &crowd{out: io.Discard, url: url, dialer: websocket.DefaultDialer, members: 2, pace: time.Hour}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for chat.Counts().Received == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	require.NoError(t, c.run(ctx, []string{"lobby"}, 0, 0))
	require.Equal(t, c.counts.Connections, c.counts.Closed)
	require.Positive(t, c.counts.Closed)
}

func TestByeWaitsForTheAnswerWhenStopped(t *testing.T) {
	_, url := startRoom(t)
	c := &crowd{out: io.Discard, url: url, dialer: websocket.DefaultDialer}
	client, err := c.dial(t.Context())
	require.NoError(t, err)
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, c.bye(stopped, client))
}

func TestCrowdWithoutServer(t *testing.T) {
	web := httptest.NewServer(nil)
	web.Close()
	c := &crowd{out: io.Discard, url: "ws" + strings.TrimPrefix(web.URL, "http"), dialer: websocket.DefaultDialer, members: 2}
	require.ErrorContains(t, c.run(t.Context(), []string{"lobby"}, 1, 0), "room lobby: dial ws://")
}
