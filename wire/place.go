package wire

import "fmt"

// EventPlace names an event of the message in errors, as the decoder does:
// "events[3]" in a batch, "[3]" in an array of bare events, "event" alone.
func (m *Message) EventPlace(index int) string {
	switch {
	case m.Form == FormBatch:
		return fmt.Sprintf("events[%d]", index)
	case m.single:
		return "event"
	}
	return fmt.Sprintf("[%d]", index)
}
