package observed

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// A connection outlives the message that it was made from.
func TestConnectionsOwnTheirMemory(t *testing.T) {
	text := []byte(`{"connections":[{"ws.connection.id":"c1","ws.role":"client","ws.url":"ws://u@h/p?q","ws.protocol":"ws",` +
		`"net.peer.ip":"192.0.2.7","net.peer.port":443,"ws.connection.shared":true,"room.id":"lobby","tags":["a","b"]}]}`)
	m := new(wire.Message)
	require.NoError(t, new(wire.Decoder).DecodeJSON(text, m))
	table := NewTable(defaults(), "")
	out := new(Resolved)
	table.Resolve(m, arrival, out)
	for i := range text {
		text[i] = 'x'
	}
	m.Reset()
	require.Len(t, out.Opened, 1)
	c := out.Opened[0]
	assert.Same(t, c, table.conns["c1"])
	assert.Equal(t, wire.RoleClient, c.Role)
	assert.Equal(t, []any{"c1", "client", "ws://h/p", "ws", "192.0.2.7", int64(443), true, true},
		[]any{c.ID, c.RoleText, c.URL, c.Protocol, c.PeerIP, c.PeerPort, c.HasPort, c.Shared})
	assert.Equal(t, []wire.KeyValue{
		{Key: "room.id", Value: wire.StringValue("lobby")},
		{Key: "tags", Value: wire.Value{Type: wire.TypeArray, Array: []wire.Value{wire.StringValue("a"), wire.StringValue("b")}}},
	}, c.User)
	assert.False(t, c.Opened)
}
