// Package room is a small chat over WebSockets: a server with rooms and its
// client. It knows nothing of telemetry; the program that uses it adds that.
package room

import "fmt"

// The types of a Message.
const (
	TypeJoin   = "join"   // client: let me into Room as User
	TypeTalk   = "talk"   // client, then server to everybody in the room
	TypeLeave  = "leave"  // client: I leave the room
	TypeJoined = "joined" // server to everybody in the room, the new one too
	TypeLeft   = "left"   // server to everybody in the room, the leaving one too
	TypeError  = "error"  // server: Text says what was wrong with the last message
)

// Message is what goes over the socket, as one text message of JSON.
type Message struct {
	Type string `json:"type"`
	Room string `json:"room,omitempty"`
	User string `json:"user,omitempty"`
	Text string `json:"text,omitempty"`
}

// Counts is what a side of the chat saw, counted where the application handles
// it: whole text messages, not frames.
type Counts struct {
	Connections int64 // opened
	Sent        int64
	Received    int64
}

func (c Counts) String() string {
	return fmt.Sprintf("%d connections, %d sent, %d received", c.Connections, c.Sent, c.Received)
}
