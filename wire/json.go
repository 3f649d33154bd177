package wire

// Limits bound what a decoder takes. The zero value of a field means its default.
type Limits struct {
	Events      int // events a message, default 8192
	Connections int // connections declared a message, default 8192
	Attributes  int // attributes of the user a row, default 64
	KeyBytes    int // bytes of a key, default 256
	ValueBytes  int // bytes of a string value, default 4096; longer ones are cut
	Depth       int // nesting of a message, default 16
}

// MessageError says why a whole message was refused.
type MessageError struct {
	Code  string // CodeMalformed or CodeTooLarge
	Place string // where: "events[3]", "seq", or "" for the message itself
	Text  string // what was expected
	Seq   uint64 // the message's number where it was readable, else 0
}

// Error returns the place and what was expected there.
func (e *MessageError) Error() string {
	if e.Place == "" {
		return e.Text
	}
	return e.Place + ": " + e.Text
}

// Decoder decodes messages of the JSON form. It is not safe for concurrent use.
type Decoder struct {
	Limits Limits
}

// DecodeJSON decodes one message of the JSON form into m, which it resets
// first. Rows that are wrong on their own are left out and counted in
// m.Batch.Rejected; an error that concerns the whole message is a *MessageError.
func (d *Decoder) DecodeJSON(data []byte, m *Message) error { panic("to be written") }

// AppendJSON appends the JSON form of a message, for agents. Times are integer
// Unix nanoseconds; rows with TypeEmpty values leave them out.
func AppendJSON(dst []byte, m *Message) []byte { panic("to be written") }
