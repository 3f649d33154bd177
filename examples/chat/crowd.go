package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsstats/wsstatsreceiver/examples/chat/room"
)

var (
	people = []string{"ada", "grace", "edsger", "barbara", "donald", "radia", "ken", "frances"}
	lines  = []string{"hello", "is anybody here?", "what a fine day to count frames"}
)

const (
	stepTimeout = 10 * time.Second
	byeTimeout  = 2 * time.Second
)

// crowd is people who come to the chat, talk and go, round after round.
type crowd struct {
	out     io.Writer // what people are to see
	url     string
	dialer  *websocket.Dialer
	members int           // in a room, 2 to len(people)
	pace    time.Duration // between two steps of a scene

	mu     sync.Mutex
	counts crowdCounts
}

// crowdCounts is what the crowd did and saw.
type crowdCounts struct {
	room.Counts
	Pings   int64
	Closed  int64 // with code 1000
	Dropped int64 // without a close frame
}

func (c crowdCounts) String() string {
	return fmt.Sprintf("%s, %d pings, %d closed, %d dropped dead", c.Counts, c.Pings, c.Closed, c.Dropped)
}

// scene is one round in one room: all join, each says its lines to everybody
// and pings, the last one drops dead, the others see that and leave. Every
// step is awaited on every side, so the number of messages is always the same.
func (c *crowd) scene(ctx context.Context, name string) (err error) {
	present := make(map[string]*room.Client, c.members)
	defer func() {
		// The scene may have been cut short: nobody stays behind.
		for _, client := range present {
			err = firstError(err, c.bye(ctx, client))
		}
	}()

	for _, user := range people[:c.members] {
		client, err := c.dial(ctx)
		if err != nil {
			return err
		}
		present[user] = client
		if err := client.Join(name, user); err != nil {
			return err
		}
		if err := c.everybody(ctx, present, room.TypeJoined, user); err != nil {
			return err
		}
	}

	for _, line := range lines {
		for _, user := range people[:c.members] {
			if err := present[user].Talk(line); err != nil {
				return err
			}
			if err := c.everybody(ctx, present, room.TypeTalk, user); err != nil {
				return err
			}
		}
	}

	for _, user := range people[:c.members] {
		if err := c.ping(ctx, present[user]); err != nil {
			return err
		}
	}

	for i := c.members - 1; i >= 0; i-- {
		user := people[i]
		client := present[user]
		if i == c.members-1 {
			delete(present, user)
			client.Drop()
			c.add(crowdCounts{Counts: client.Counts(), Dropped: 1})
		} else if err := client.Leave(); err != nil {
			return err
		}
		if err := c.everybody(ctx, present, room.TypeLeft, user); err != nil {
			return err
		}
		if present[user] != nil {
			delete(present, user)
			if err := c.bye(ctx, client); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *crowd) dial(ctx context.Context) (*room.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	return room.Dial(ctx, c.dialer, c.url)
}

// everybody waits until all that are present have got the message, then for the pace.
func (c *crowd) everybody(ctx context.Context, present map[string]*room.Client, messageType, user string) error {
	step, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	for _, client := range present {
		if _, err := client.Await(step, messageType, user); err != nil {
			return err
		}
	}
	return sleep(ctx, c.pace)
}

func (c *crowd) ping(ctx context.Context, client *room.Client) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	if _, err := client.Ping(ctx); err != nil {
		return err
	}
	c.add(crowdCounts{Pings: 1})
	return nil
}

// bye closes a connection properly, also when the program is being stopped.
func (c *crowd) bye(ctx context.Context, client *room.Client) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), byeTimeout)
	defer cancel()
	err := client.Close(ctx)
	c.add(crowdCounts{Counts: client.Counts(), Closed: 1})
	return err
}

func (c *crowd) add(d crowdCounts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Connections += d.Connections
	c.counts.Sent += d.Sent
	c.counts.Received += d.Received
	c.counts.Pings += d.Pings
	c.counts.Closed += d.Closed
	c.counts.Dropped += d.Dropped
}

// run plays rounds scenes in each of the rooms at once; 0 rounds: until ctx
// ends. Where rounds are not counted, a scene that failed is played again.
func (c *crowd) run(ctx context.Context, rooms []string, rounds int, pause time.Duration) error {
	var group sync.WaitGroup
	errs := make([]error, len(rooms))
	for i, name := range rooms {
		group.Go(func() {
			for round := 1; ctx.Err() == nil; round++ {
				fmt.Fprintf(c.out, "chat: %s come to the %s, round %d\n", strings.Join(people[:c.members], ", "), name, round)
				err := c.scene(ctx, name)
				if err != nil && ctx.Err() == nil {
					errs[i] = fmt.Errorf("room %s: %w", name, err)
					if rounds > 0 {
						return
					}
					fmt.Fprintln(c.out, "chat:", errs[i])
				}
				// Of different length, so that the rooms do not move in step.
				if round == rounds || sleep(ctx, pause/2+rand.N(pause+1)) != nil {
					return
				}
			}
		})
	}
	group.Wait()
	if rounds == 0 {
		return nil
	}
	return firstError(errs...)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
