package wire

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// What is parsed has its own name again, and no number is a surprise.
func TestValueNames(t *testing.T) {
	for _, name := range []string{"", "client", "server"} {
		assert.Equal(t, name, ParseRole(name).String())
	}
	for _, name := range []string{"", "sent", "received"} {
		assert.Equal(t, name, ParseDirection(name).String())
	}
	for _, name := range []string{"", "text", "binary", "ping", "pong", "close"} {
		assert.Equal(t, name, ParseMessageType(name).String())
	}
	assert.Equal(t, "_OTHER", ParseRole("proxy").String())
	assert.Equal(t, "_OTHER", ParseDirection("up").String())
	assert.Equal(t, "_OTHER", ParseMessageType("blob").String())
	assert.Equal(t, []string{"", "", ""}, []string{Role(255).String(), Direction(255).String(), MessageType(255).String()})
}
