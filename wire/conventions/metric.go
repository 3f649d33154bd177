package conventions

// Metric describes a metric: a histogram where it has bounds, else a sum.
type Metric struct {
	Name, Unit, Description string
	Bounds                  []float64 // the upper ones of explicit buckets
}

// Upper bounds of the explicit buckets.
var (
	sizeBounds     = []float64{16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216}
	queueBounds    = []float64{1, 4, 16, 64, 256, 1024, 4096, 16384, 65536}
	latencyBounds  = []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}
	lifetimeBounds = []float64{1, 5, 15, 60, 300, 900, 3600, 10800, 21600, 43200, 86400}
)

// The metrics.
var (
	ConnectionsTotal = Metric{
		Name: "ws.connections.total", Unit: "{connection}",
		Description: "WebSocket connections that were opened: successful handshakes.",
	}
	ConnectionsActive = Metric{
		Name: "ws.connections.active", Unit: "{connection}",
		Description: "WebSocket connections that are open.",
	}
	ConnectionsClosed = Metric{
		Name: "ws.connections.closed", Unit: "{connection}",
		Description: "WebSocket connections that ended.",
	}
	ConnectionDuration = Metric{
		Name: "ws.connection.duration", Unit: "s", Bounds: lifetimeBounds,
		Description: "How long connections lasted, from the opening to the close.",
	}
	HandshakeDuration = Metric{
		Name: "ws.handshake.duration", Unit: "s", Bounds: latencyBounds,
		Description: "How long opening handshakes took, failed ones too.",
	}
	MessagesSent = Metric{
		Name: "ws.messages.sent", Unit: "{message}",
		Description: "Messages that were sent, control frames not counted.",
	}
	MessagesReceived = Metric{
		Name: "ws.messages.received", Unit: "{message}",
		Description: "Messages that were received, control frames not counted.",
	}
	MessagesBytes = Metric{
		Name: "ws.messages.bytes", Unit: "By",
		Description: "Payload bytes of the messages that were sent or received and whose size is known.",
	}
	MessageSize = Metric{
		Name: "ws.message.size", Unit: "By", Bounds: sizeBounds,
		Description: "Payload sizes of messages.",
	}
	PingRTT = Metric{
		Name: "ws.ping.rtt", Unit: "s", Bounds: latencyBounds,
		Description: "Round trip times from a ping to its pong.",
	}
	ProcessingTime = Metric{
		Name: "ws.processing.time", Unit: "s", Bounds: latencyBounds,
		Description: "How long applications took to handle received messages.",
	}
	QueueSize = Metric{
		Name: "ws.queue.size", Unit: "{message}", Bounds: queueBounds,
		Description: "Messages that waited in the queue of a connection.",
	}
	BroadcastRecipients = Metric{
		Name: "ws.broadcast.recipients", Unit: "{connection}", Bounds: queueBounds,
		Description: "Connections that a broadcast went to.",
	}
	Errors = Metric{
		Name: "ws.errors", Unit: "{error}",
		Description: "Errors, protocol errors and failed handshakes.",
	}
	AgentDropped = Metric{
		Name: "ws.agent.dropped", Unit: "{event}",
		Description: "Events that agents dropped before they were sent.",
	}
)

// Other stands in attributes of metrics for the values that are not of a bounded set.
const Other = "_OTHER"

// Token returns the value where it is 1 to 64 of [A-Za-z0-9_.:-], else Other.
func Token(s string) string {
	if len(s) == 0 || len(s) > 64 {
		return Other
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '.', c == ':', c == '-':
		default:
			return Other
		}
	}
	return s
}
