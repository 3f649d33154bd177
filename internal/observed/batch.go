package observed

import "github.com/wsstats/wsstatsreceiver/wire"

// Batch is one message of an agent, resolved: what the aggregator takes.
type Batch struct {
	Resource *Resource
	Rows     []Row
	// Opened are the connections that the message declares open.
	Opened  []*Conn
	Stats   []wire.Stat
	Dropped []wire.Dropped
	// Aggregates says that send, receive, message, process, broadcast and
	// batch_send events are measured by Stats alone.
	Aggregates bool
	// Session is false for a POST, which counts and never moves the active gauge.
	Session bool
}
