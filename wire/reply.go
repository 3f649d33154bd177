package wire

// Reply is one message from the receiver to an agent: exactly one of Welcome,
// Ack, Nack, Flow, Error and GoAway is set.
type Reply struct {
	Welcome *Welcome `json:"welcome,omitempty"`

	// Ack says that every message up to this number was taken.
	Ack       uint64    `json:"ack,omitempty"`
	Duplicate bool      `json:"duplicate,omitempty"` // of Ack
	Rejected  *Rejected `json:"rejected,omitempty"`  // of Ack

	// Nack says that all before this number were taken and this one was not.
	Nack         uint64 `json:"nack,omitempty"`
	Retryable    bool   `json:"retryable,omitempty"`      // of Nack
	RetryAfterMs int64  `json:"retry_after_ms,omitempty"` // of Nack
	Code         string `json:"code,omitempty"`           // of Nack
	Message      string `json:"message,omitempty"`        // of Nack

	Flow   *Flow        `json:"flow,omitempty"`
	Error  *ErrorDetail `json:"error,omitempty"`
	GoAway *GoAway      `json:"goaway,omitempty"`
}

// Welcome answers a hello.
type Welcome struct {
	ResumeAfter       uint64   `json:"resume_after"`      // the last number taken from this instance, 0: none known
	Refused           []uint64 `json:"refused,omitempty"` // numbers up to it that were refused for good, whose nack may not have been heard
	MaxMessageBytes   int64    `json:"max_message_bytes"`
	MaxEvents         int      `json:"max_events"`
	WindowBytes       int64    `json:"window_bytes"`
	HeartbeatS        float64  `json:"heartbeat_s"`
	SamplingRatio     float64  `json:"sampling_ratio"`
	SamplingThreshold string   `json:"sampling_threshold"` // see ParseThreshold
	SamplingScope     string   `json:"sampling_scope"`     // "message" or "connection"
	TraceMode         string   `json:"trace_mode"`         // "message" or "connection"
	Dimensions        []string `json:"dimensions"`         // user attributes that stats must keep apart
	Signals           []string `json:"signals"`            // "traces", "metrics"
}

// Flow announces a new window or new sampling; it is also the heartbeat.
type Flow struct {
	WindowBytes       *int64   `json:"window_bytes,omitempty"` // 0: pause
	SamplingRatio     *float64 `json:"sampling_ratio,omitempty"`
	SamplingThreshold string   `json:"sampling_threshold,omitempty"`
}

// ErrorDetail is about an unnumbered or unreadable message.
type ErrorDetail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Index   uint64 `json:"index,omitempty"` // which message of the session, from 1
}

// GoAway says that nothing new is taken and a close with 1001 follows.
type GoAway struct {
	Reason           string `json:"reason"`
	ReconnectAfterMs int64  `json:"reconnect_after_ms"`
}

// Codes of Nack and ErrorDetail.
const (
	CodeMalformed   = "malformed"   // the message cannot be read, or a rule of the protocol is broken
	CodeRejected    = "rejected"    // rows of an unnumbered message were refused
	CodeUnavailable = "unavailable" // the pipeline or the byte budget refuses; try again later
	CodeRefused     = "refused"     // the pipeline refuses this data for good
	CodeTooLarge    = "too_large"   // over a limit on the size or number of things
	CodeUndefined   = "undefined"   // a handle is not defined: define anew, and send again
)
