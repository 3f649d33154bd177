package main

import (
	"fmt"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
)

// The types of an event.
const (
	typeCreated          = "session.created"
	typeSpeechStarted    = "speech_started"
	typeTranscriptDelta  = "transcript.delta" // Text is one word
	typeTranscriptDone   = "transcript.done"  // Text is all of them
	typeResponseDelta    = "response.delta"   // Text is one word
	typeResponseDone     = "response.done"
	typeResponseCanceled = "response.canceled" // the speaker has gone on to speak
	typeError            = "error"             // Text says what was wrong with the last message
)

// event is what the server sends, as one text message of JSON. It names the
// span under which the turn that it is about was recognised.
type event struct {
	wsstats.TraceFields        // trace_id and span_id
	Type                string `json:"type"`
	Turn                int    `json:"turn,omitempty"` // from 1
	Text                string `json:"text,omitempty"`
}

// counts is what a side saw, counted where it handles messages.
type counts struct {
	Sessions, Chunks, Events, Turns, Interrupted int64
}

func (c *counts) add(d counts) {
	c.Sessions += d.Sessions
	c.Chunks += d.Chunks
	c.Events += d.Events
	c.Turns += d.Turns
	c.Interrupted += d.Interrupted
}

func (c counts) String() string {
	return fmt.Sprintf("%d sessions, %d chunks, %d events, %d turns, %d interrupted", c.Sessions, c.Chunks, c.Events, c.Turns, c.Interrupted)
}
