package e2e

import (
	"errors"
	"fmt"
	"time"
)

// peer is one end of a connection that is made with a library for Go.
type peer interface {
	send(typ string, data []byte) error
	// sendParts sends one message part by part, and a ping after the first.
	sendParts(typ string, parts [][]byte) error
	ping() error
	// read reads one message, and answers what comes between.
	read() error
	// close sends a close frame, where this end is the one that closes: reading ends
	// with the answer.
	close(code int) error
	// end lets go of a connection on which reading has ended.
	end()
}

// talk tells the story as role, hears it from the other end, and closes where
// the route says so. The server waits for the client's first message: tshark does
// not look for frames in the packet of the 101, and so nothing must be there.
// Pongs is told of each pong.
func (s *story) talk(p peer, r route, role string, pongs <-chan struct{}) error {
	defer p.end()
	began, heard, finished := make(chan struct{}), make(chan struct{}), make(chan struct{})
	read := make(chan error, 1)
	go func() { read <- s.listen(p, began, heard, finished) }()
	failed := func(err error) error {
		p.end()
		return fmt.Errorf("%s of %s: %w", role, r, errors.Join(err, <-read))
	}
	await := func(what <-chan struct{}) error {
		select {
		case <-what:
			return nil
		case <-time.After(waitTimeout):
			return errors.New("waited too long for the other end")
		}
	}
	if role == "server" {
		if err := await(began); err != nil {
			return failed(err)
		}
	}
	if err := s.tell(p); err != nil {
		return failed(err)
	}
	for range s.pings {
		if err := await(pongs); err != nil {
			return failed(err)
		}
	}
	if err := await(heard); err != nil {
		return failed(err)
	}
	if err := p.send("text", []byte("done")); err != nil {
		return failed(err)
	}
	if role == r.closer {
		if err := await(finished); err != nil {
			return failed(err)
		}
		if err := p.close(r.code); err != nil {
			return failed(err)
		}
	}
	select {
	case err := <-read:
		return err
	case <-time.After(waitTimeout):
		return failed(errors.New("no close came"))
	}
}

func (s *story) tell(p peer) error {
	for _, step := range s.steps {
		parts := make([][]byte, len(step.Parts))
		for i, n := range step.Parts {
			parts[i] = payload(n)
		}
		var err error
		switch {
		case step.Send == "":
			err = p.ping()
		case len(parts) > 1:
			err = p.sendParts(step.Send, parts)
		default:
			for range step.times() {
				err = errors.Join(err, p.send(step.Send, parts[0]))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// listen reads until the connection is closed. It tells of the first message, of
// the last before the other end's "done", and of that.
func (s *story) listen(p peer, began, heard, finished chan struct{}) error {
	for n := 1; ; n++ {
		err := p.read()
		if err != nil && n <= len(s.messages) {
			return fmt.Errorf("message %d of %d: %w", n, len(s.messages), err)
		}
		switch {
		case err != nil:
			return nil
		case n == 1:
			close(began)
		case n == len(s.messages)-1:
			close(heard)
		case n == len(s.messages):
			close(finished)
		}
	}
}
