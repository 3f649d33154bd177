package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
	wsstatscoder "github.com/wsstats/wsstatsreceiver/agents/go/coder"
)

const stepTimeout = 10 * time.Second

// What is published in turn. Every subscriber has the weather, every second one
// the orders; every fifth notification is for one user alone.
const (
	weather = "weather"
	orders  = "orders"
)

// load is subscribers, and a publisher whose notifications they wait for.
type load struct {
	out           io.Writer // what people are to see
	agent         *wsstats.Agent
	server        string // URL
	subscribers   int
	notifications int // 0: until interrupted
	every         time.Duration

	readers []*reader
	counts  counts
}

// run subscribes, publishes, and leaves.
func (l *load) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, l.leave()) }()
	for i := range l.subscribers {
		topics := []string{weather}
		if i%2 == 0 {
			topics = append(topics, orders)
		}
		if err := l.subscribe(ctx, userID(i), topics); err != nil {
			return interrupted(ctx, err)
		}
	}
	fmt.Fprintf(l.out, "notify: %d have subscribed\n", l.subscribers)
	for i := 0; l.notifications == 0 || i < l.notifications; i++ {
		if err := l.notify(ctx, i); err != nil {
			return interrupted(ctx, err)
		}
		select {
		case <-time.After(l.every):
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

func userID(i int) string { return "u-" + strconv.Itoa(i+1) }

// interrupted drops an error that comes from Ctrl-C.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// notify publishes the i-th notification, and waits until all have read it.
func (l *load) notify(ctx context.Context, i int) error {
	n := notification{Topic: weather, Text: "it is " + strconv.Itoa(15+i%10) + " degrees"}
	whom := "the " + n.Topic
	switch {
	case i%5 == 4:
		n = notification{User: userID(i / 5 % l.subscribers), Text: "your parcel is on its way"}
		whom = n.User
	case i%2 == 1:
		n = notification{Topic: orders, Text: "order " + strconv.Itoa(1000+i) + " has come in"}
		whom = "the " + n.Topic
	}
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	began := time.Now()
	r, err := l.publish(ctx, n)
	if err != nil {
		return err
	}
	read := 0
	for _, reader := range l.readers {
		if n.User == reader.user || n.Topic != "" && reader.wants(n.Topic) {
			if err := reader.await(ctx, r.ID); err != nil {
				return fmt.Errorf("%s waits for %s: %w", reader.user, r.ID, err)
			}
			read++
		}
	}
	fmt.Fprintf(l.out, "notify: %s to %s, read by %d of %d after %s\n", r.ID, whom, read, r.Recipients, time.Since(began).Round(10*time.Microsecond))
	return nil
}

// publish posts a notification, as any publisher would.
func (l *load) publish(ctx context.Context, n notification) (receipt, error) {
	body, err := json.Marshal(n)
	if err != nil {
		return receipt{}, err
	}
	target := "http" + strings.TrimSuffix(strings.TrimPrefix(l.server, "ws"), "/subscribe") + "/notifications"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return receipt{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return receipt{}, fmt.Errorf("publish: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		return receipt{}, fmt.Errorf("publish: %s", resp.Status)
	}
	var r receipt
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
		return receipt{}, fmt.Errorf("answer to a notification: %w", err)
	}
	return r, nil
}

// leave closes every connection with 1000, also when the program is being stopped.
func (l *load) leave() error {
	http.DefaultClient.CloseIdleConnections()
	errs := make([]error, len(l.readers))
	var group sync.WaitGroup
	for i, r := range l.readers {
		group.Go(func() { errs[i] = r.leave() })
	}
	group.Wait()
	for _, r := range l.readers {
		l.counts.Connections++
		l.counts.Sent += r.sent
		l.counts.Received += r.received
	}
	return errors.Join(errs...)
}

// reader is one subscriber. It reads, and says so, in a goroutine of its own.
type reader struct {
	ws     *wsstatscoder.Conn
	user   string
	topics []string
	news   chan message // what the service sent
	ended  chan struct{}

	// The goroutine's own until ended is closed.
	sent, received int64
	err            error
}

// subscribe adds a reader, when the service has told it its topics.
func (l *load) subscribe(ctx context.Context, user string, topics []string) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	target := l.server + "?user=" + url.QueryEscape(user)
	ws, _, err := wsstatscoder.Dial(ctx, l.agent, target, nil, wsstats.String("user.id", user)) //nolint:bodyclose // an upgrade has none
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	r := &reader{ws: ws, user: user, topics: topics, news: make(chan message, 1), ended: make(chan struct{}), sent: 1}
	l.readers = append(l.readers, r)
	err = ws.Write(ctx, websocket.MessageText, encode(message{Type: typeSubscribe, Topics: topics}))
	go r.read(context.WithoutCancel(ctx))
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	return r.await(ctx, "")
}

func (r *reader) wants(topic string) bool { return slices.Contains(r.topics, topic) }

// read handles what comes until the connection ends.
func (r *reader) read(ctx context.Context) {
	defer close(r.ended)
	for {
		_, data, err := r.ws.Read(ctx)
		if err != nil {
			r.err = err
			return
		}
		r.received++
		ctx, end := r.ws.Observed().Process(ctx, r.ws.Message())
		end(r.handle(ctx, data))
	}
}

// handle says that a notification was read, and hands it on.
func (r *reader) handle(ctx context.Context, data []byte) error {
	var msg message
	if err := json.Unmarshal(data, &msg); err != nil {
		return err
	}
	if msg.Type == typeNotification {
		ctx, cancel := context.WithTimeout(ctx, writeWait)
		defer cancel()
		if err := r.ws.Write(ctx, websocket.MessageText, encode(message{Type: typeRead, ID: msg.ID})); err != nil {
			return err
		}
		r.sent++
	}
	select {
	case r.news <- msg:
	default: // nobody waits: the oldest is of no use any more
		select {
		case <-r.news:
		default:
		}
		r.news <- msg
	}
	return nil
}

// await waits for the message of that id.
func (r *reader) await(ctx context.Context, id string) error {
	for {
		select {
		case msg := <-r.news:
			if msg.ID == id {
				return nil
			}
		case <-r.ended:
			return r.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *reader) leave() error {
	err := r.ws.Close(websocket.StatusNormalClosure, "bye")
	<-r.ended
	if err != nil && websocket.CloseStatus(r.err) != -1 {
		return nil // the service was first
	}
	return err
}
