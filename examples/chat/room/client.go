package room

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// Client is one person in the chat. Its methods are for one goroutine.
type Client struct {
	conn  *websocket.Conn
	inbox chan Message
	pongs chan struct{}
	ended chan struct{} // closed when reading has ended; err is set before
	err   error

	closeOnce sync.Once
	sent      int64
	received  atomic.Int64
}

// Dial connects to the chat at url.
func Dial(ctx context.Context, dialer *websocket.Dialer, url string) (*Client, error) {
	conn, resp, err := dialer.DialContext(ctx, url, nil) //nolint:bodyclose // gorilla has read the body
	if err != nil {
		if resp != nil {
			return nil, fmt.Errorf("dial %s: %s: %w", url, resp.Status, err)
		}
		return nil, fmt.Errorf("dial %s: %w", url, err)
	}
	c := &Client{
		conn:  conn,
		inbox: make(chan Message, outboxSize),
		pongs: make(chan struct{}, 1),
		ended: make(chan struct{}),
	}
	conn.SetReadLimit(maxMessageBytes)
	conn.SetPongHandler(func(string) error {
		select {
		case c.pongs <- struct{}{}:
		default:
		}
		return nil
	})
	go c.read()
	return c, nil
}

func (c *Client) read() {
	defer close(c.ended)
	for {
		_, data, err := c.conn.ReadMessage()
		if err != nil {
			c.err = err
			return
		}
		c.received.Add(1)
		var msg Message
		if err := json.Unmarshal(data, &msg); err != nil {
			continue
		}
		select {
		case c.inbox <- msg:
		default: // nobody looks: the oldest is of no use any more
			select {
			case <-c.inbox:
			default:
			}
			c.inbox <- msg
		}
	}
}

// Counts returns what this client has seen so far.
func (c *Client) Counts() Counts {
	return Counts{Connections: 1, Sent: c.sent, Received: c.received.Load()}
}

// Join enters a room.
func (c *Client) Join(room, user string) error {
	return c.send(Message{Type: TypeJoin, Room: room, User: user})
}

// Talk says text to the room.
func (c *Client) Talk(text string) error { return c.send(Message{Type: TypeTalk, Text: text}) }

// Leave leaves the room; the connection stays.
func (c *Client) Leave() error { return c.send(Message{Type: TypeLeave}) }

func (c *Client) send(msg Message) error {
	err := c.conn.SetWriteDeadline(time.Now().Add(writeWait))
	if err == nil {
		err = c.conn.WriteJSON(msg)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", msg.Type, err)
	}
	c.sent++
	return nil
}

// Await reads until a message of that type and user comes.
func (c *Client) Await(ctx context.Context, messageType, user string) (Message, error) {
	for {
		msg, err := c.next(ctx)
		if err != nil {
			return Message{}, fmt.Errorf("wait for %s of %s: %w", messageType, user, err)
		}
		if msg.Type == messageType && msg.User == user {
			return msg, nil
		}
	}
}

func (c *Client) next(ctx context.Context) (Message, error) {
	select { // what came before the end is still to be read
	case msg := <-c.inbox:
		return msg, nil
	default:
	}
	select {
	case msg := <-c.inbox:
		return msg, nil
	case <-c.ended:
		select {
		case msg := <-c.inbox:
			return msg, nil
		default:
			return Message{}, c.err
		}
	case <-ctx.Done():
		return Message{}, ctx.Err()
	}
}

// Ping sends a ping and waits for its pong. It returns the round trip.
func (c *Client) Ping(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	if err := c.conn.WriteControl(websocket.PingMessage, []byte("are you there"), start.Add(writeWait)); err != nil {
		return 0, fmt.Errorf("ping: %w", err)
	}
	select {
	case <-c.pongs:
		return time.Since(start), nil
	case <-c.ended:
		return 0, fmt.Errorf("ping: %w", c.err)
	case <-ctx.Done():
		return 0, fmt.Errorf("ping: %w", ctx.Err())
	}
}

// Close closes with code 1000 and waits for the server's answer until ctx
// ends. It may be called again, and after Drop; then it does nothing.
func (c *Client) Close(ctx context.Context) error {
	var err error
	c.closeOnce.Do(func() {
		bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "bye")
		err = c.conn.WriteControl(websocket.CloseMessage, bye, time.Now().Add(writeWait))
		if err == nil {
			select {
			case <-c.ended:
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		c.conn.Close()
	})
	<-c.ended
	if err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}

// Drop drops dead: the TCP connection goes without a close frame.
func (c *Client) Drop() {
	c.closeOnce.Do(func() { c.conn.Close() })
	<-c.ended
}
