package wire

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestParseAttr(t *testing.T) {
	for a := range NumAttrs {
		got, ok := ParseAttr(a.String())
		assert.True(t, ok, a.String())
		assert.Equal(t, a, got)
		assert.Equal(t, a.String(), a.Info().Name)
		_, ok = ParseAttr(a.String() + "x")
		assert.False(t, ok)
	}
	for _, name := range []string{"", "a", "ws", "time", "ws.message", "WS.ROLE"} {
		_, ok := ParseAttr(name)
		assert.False(t, ok, name)
	}
}

func TestAttrs(t *testing.T) {
	var as Attrs
	for a := range NumAttrs {
		assert.False(t, as.Has(a))
		assert.Equal(t, Value{}, as.Value(a))
	}
	assert.Empty(t, as.Str(AttrRole))
	assert.Zero(t, as.Int(AttrMessageSize))
	assert.Zero(t, as.Double(AttrPongLatency))
	assert.False(t, as.Bool(AttrShared))

	as.SetStr(AttrRole, "client")
	as.SetInt(AttrMessageSize, -3)
	as.SetDouble(AttrPongLatency, 1.5)
	as.SetBool(AttrShared, true)
	as.SetBool(AttrCloseClean, false)
	as.User = []KeyValue{{"a", IntValue(1)}}
	assert.Equal(t, 5, as.Len())
	var other Attrs
	for a := range NumAttrs {
		if as.Has(a) {
			other.SetValue(a, as.Value(a))
		}
	}
	assert.Equal(t, "client", other.Str(AttrRole))
	assert.EqualValues(t, -3, other.Int(AttrMessageSize))
	assert.InDelta(t, 1.5, other.Double(AttrPongLatency), 0)
	assert.True(t, other.Bool(AttrShared))
	assert.True(t, other.Has(AttrCloseClean))
	assert.False(t, other.Bool(AttrCloseClean))

	as.Unset(AttrRole)
	assert.Empty(t, as.Str(AttrRole))
	as.Reset()
	assert.Zero(t, as.Len())
	assert.Empty(t, as.User)
}

func TestNames(t *testing.T) {
	for k := KindUnknown + 1; k < numKinds; k++ {
		got, ok := ParseKind(k.String())
		assert.True(t, ok)
		assert.Equal(t, k, got)
	}
	assert.Empty(t, KindUnknown.String())
	assert.Empty(t, numKinds.String())
	assert.Equal(t, RoleServer, RoleClient.Peer())
	assert.Equal(t, RoleClient, RoleServer.Peer())
	assert.Equal(t, RoleUnknown, RoleOther.Peer())
	for s, want := range map[string]Direction{"": DirectionUnknown, "sent": DirectionSent, "received": DirectionReceived, "up": DirectionOther} {
		assert.Equal(t, want, ParseDirection(s))
	}
	for s, want := range map[string]MessageType{
		"": MessageTypeUnknown, "text": MessageText, "binary": MessageBinary, "ping": MessagePing, "pong": MessagePong, "close": MessageClose, "x": MessageTypeOther,
	} {
		assert.Equal(t, want, ParseMessageType(s))
	}
	for s, want := range map[string]Role{"": RoleUnknown, "client": RoleClient, "server": RoleServer, "x": RoleOther} {
		assert.Equal(t, want, ParseRole(s))
	}
}

// What an unusual message made large is let go.
func TestResetLetsGo(t *testing.T) {
	m := Message{arena: make([]byte, 1, 2<<20), users: make([]KeyValue, 1, 8)}
	m.Reset()
	assert.Nil(t, m.arena)
	assert.Empty(t, m.users)
	assert.Equal(t, 8, cap(m.users))
}
