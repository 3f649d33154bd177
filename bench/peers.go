package main

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
)

// peer is one way to bring events into the collector.
type peer struct {
	name     string  // in reports
	baseline bool    // ratios are to this one
	events   int     // a batch
	first    int     // batches that dial has sent
	counter  counter // of the events that the receiver took
	dial     func(ctx context.Context, m *meter, i int) (client, error)
}

// counter is one of the collector's own metrics.
type counter struct {
	metric string
	labels []string
}

// client is a connection of a peer. Only one goroutine uses it.
type client interface {
	// send sends the next batch and returns when the collector has taken it.
	send(ctx context.Context) error
	close() error
}

// meter counts bytes on sockets: what is really sent and received, framing,
// headers and acknowledgements included.
type meter struct{ sent, received atomic.Int64 }

func (m *meter) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &meteredConn{Conn: conn, meter: m}, nil
}

type meteredConn struct {
	net.Conn
	meter *meter
}

func (c *meteredConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.meter.received.Add(int64(n))
	return n, err
}

func (c *meteredConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.meter.sent.Add(int64(n))
	return n, err
}

// writeBuffers are shared by agents, of which thousands are idle.
var writeBuffers = new(sync.Pool)
