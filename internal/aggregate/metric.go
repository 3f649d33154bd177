package aggregate

import "github.com/wsstats/wsstatsreceiver/wire/conventions"

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

// maxBuckets is one more than the most bounds that a histogram has.
const maxBuckets = 17

// metricInfo is a metric of the conventions, a histogram where it has bounds.
type metricInfo struct {
	conventions.Metric
	bounds *bounds
	// exemplars says that the points carry some. Those of message counts and
	// bytes would only repeat those of sizes.
	exemplars bool
}

func newMetricInfo(m conventions.Metric, exemplars bool) metricInfo {
	info := metricInfo{Metric: m, exemplars: exemplars}
	if m.Bounds != nil {
		info.bounds = newBounds(m.Bounds...)
	}
	return info
}

var metricInfos = [numMetrics]metricInfo{
	connectionsTotal:    newMetricInfo(conventions.ConnectionsTotal, true),
	connectionsActive:   newMetricInfo(conventions.ConnectionsActive, false),
	connectionsClosed:   newMetricInfo(conventions.ConnectionsClosed, true),
	connectionDuration:  newMetricInfo(conventions.ConnectionDuration, true),
	handshakeDuration:   newMetricInfo(conventions.HandshakeDuration, true),
	messagesSent:        newMetricInfo(conventions.MessagesSent, false),
	messagesReceived:    newMetricInfo(conventions.MessagesReceived, false),
	messagesBytes:       newMetricInfo(conventions.MessagesBytes, false),
	messageSize:         newMetricInfo(conventions.MessageSize, true),
	pingRTT:             newMetricInfo(conventions.PingRTT, true),
	processingTime:      newMetricInfo(conventions.ProcessingTime, true),
	queueSize:           newMetricInfo(conventions.QueueSize, true),
	broadcastRecipients: newMetricInfo(conventions.BroadcastRecipients, true),
	errorsTotal:         newMetricInfo(conventions.Errors, true),
	agentDropped:        newMetricInfo(conventions.AgentDropped, false),
}
