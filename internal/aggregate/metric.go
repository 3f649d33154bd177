package aggregate

// metric is one of the metrics of the conventions.
type metric uint8

const (
	connectionsTotal metric = iota
	connectionsActive
	connectionsClosed
	connectionDuration
	handshakeDuration
	messagesSent
	messagesReceived
	messagesBytes
	messageSize
	pingRTT
	processingTime
	queueSize
	broadcastRecipients
	errorsTotal
	agentDropped
	numMetrics
)

// Upper bounds of the explicit buckets.
var (
	sizeBounds     = newBounds(16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216)
	queueBounds    = newBounds(1, 4, 16, 64, 256, 1024, 4096, 16384, 65536)
	latencyBounds  = newBounds(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
	lifetimeBounds = newBounds(1, 5, 15, 60, 300, 900, 3600, 10800, 21600, 43200, 86400)
)

// maxBuckets is one more than the most bounds that a histogram has.
const maxBuckets = 17

// metricInfo describes a metric: a histogram where it has bounds, else a sum.
type metricInfo struct {
	name, unit, description string
	bounds                  *bounds
	// exemplars says that the points carry some. Those of message counts and
	// bytes would only repeat those of sizes.
	exemplars bool
}

var metricInfos = [numMetrics]metricInfo{
	connectionsTotal: {
		name: "ws.connections.total", unit: "{connection}", exemplars: true,
		description: "WebSocket connections that were opened: successful handshakes.",
	},
	connectionsActive: {
		name: "ws.connections.active", unit: "{connection}",
		description: "WebSocket connections that are open.",
	},
	connectionsClosed: {
		name: "ws.connections.closed", unit: "{connection}", exemplars: true,
		description: "WebSocket connections that ended.",
	},
	connectionDuration: {
		name: "ws.connection.duration", unit: "s", bounds: lifetimeBounds, exemplars: true,
		description: "How long connections lasted, from the opening to the close.",
	},
	handshakeDuration: {
		name: "ws.handshake.duration", unit: "s", bounds: latencyBounds, exemplars: true,
		description: "How long opening handshakes took, failed ones too.",
	},
	messagesSent: {
		name: "ws.messages.sent", unit: "{message}",
		description: "Messages that were sent, control frames not counted.",
	},
	messagesReceived: {
		name: "ws.messages.received", unit: "{message}",
		description: "Messages that were received, control frames not counted.",
	},
	messagesBytes: {
		name: "ws.messages.bytes", unit: "By",
		description: "Payload bytes of the messages that were sent or received and whose size is known.",
	},
	messageSize: {
		name: "ws.message.size", unit: "By", bounds: sizeBounds, exemplars: true,
		description: "Payload sizes of messages.",
	},
	pingRTT: {
		name: "ws.ping.rtt", unit: "s", bounds: latencyBounds, exemplars: true,
		description: "Round trip times from a ping to its pong.",
	},
	processingTime: {
		name: "ws.processing.time", unit: "s", bounds: latencyBounds, exemplars: true,
		description: "How long applications took to handle received messages.",
	},
	queueSize: {
		name: "ws.queue.size", unit: "{message}", bounds: queueBounds, exemplars: true,
		description: "Messages that waited in the queue of a connection.",
	},
	broadcastRecipients: {
		name: "ws.broadcast.recipients", unit: "{connection}", bounds: queueBounds, exemplars: true,
		description: "Connections that a broadcast went to.",
	},
	errorsTotal: {
		name: "ws.errors", unit: "{error}", exemplars: true,
		description: "Errors, protocol errors and failed handshakes.",
	},
	agentDropped: {
		name: "ws.agent.dropped", unit: "{event}",
		description: "Events that agents dropped before they were sent.",
	},
}
