package main

import "fmt"

// The types of a message.
const (
	typeSubscribe    = "subscribe"    // subscriber: send me these topics from now on
	typeSubscribed   = "subscribed"   // service: those are your topics
	typeNotification = "notification" // service
	typeRead         = "read"         // subscriber: I have read the notification
	typeError        = "error"        // service: Text says what was wrong with the last message
)

// message is what goes over the socket, as one text message of JSON.
type message struct {
	Type   string   `json:"type"`
	ID     string   `json:"id,omitempty"` // of a notification
	Topic  string   `json:"topic,omitempty"`
	Topics []string `json:"topics,omitempty"`
	Text   string   `json:"text,omitempty"`
}

// notification is what a publisher posts: to all who subscribed to a topic, or
// to one user. One of the two is given.
type notification struct {
	Topic string `json:"topic,omitempty"`
	User  string `json:"user,omitempty"`
	Text  string `json:"text"`
}

// receipt answers a notification.
type receipt struct {
	ID         string `json:"id"`
	Recipients int    `json:"recipients"` // connections that it is on the way to
}

// counts is what a side saw, counted where it handles messages.
type counts struct {
	Connections, Sent, Received int64
	TooSlow                     int64 // closed with 1008
}

func (c counts) String() string {
	return fmt.Sprintf("%d connections, %d sent, %d received, %d too slow", c.Connections, c.Sent, c.Received, c.TooSlow)
}
