package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// form is how an agent writes the protocol.
type form struct {
	subprotocol string
	opcode      int
	encoder     func() func(m *wire.Message) ([]byte, error)
	split       func(message []byte) (numbered, error)
}

var (
	formJSON = form{
		subprotocol: wire.SubprotocolJSON, opcode: websocket.TextMessage, split: splitJSON,
		encoder: func() func(*wire.Message) ([]byte, error) {
			return func(m *wire.Message) ([]byte, error) { return wire.AppendJSON(nil, m), nil }
		},
	}
	formColumns = form{
		subprotocol: wire.SubprotocolProto, opcode: websocket.BinaryMessage, split: splitProto,
		encoder: func() func(*wire.Message) ([]byte, error) {
			var e wire.ProtoEncoder
			return func(m *wire.Message) ([]byte, error) { return e.Append(nil, m) }
		},
	}
)

// numbered is an encoded batch without its number, which every sending needs anew.
type numbered struct {
	rest   []byte // behind the number
	binary bool
	tail   int // of the binary form: bytes of rest behind the batch
}

func splitJSON(message []byte) (numbered, error) {
	rest, ok := bytes.CutPrefix(message, []byte(`{"seq":1`))
	if !ok {
		return numbered{}, errors.New("a batch does not begin with its number")
	}
	return numbered{rest: rest}, nil
}

const (
	tagBatch = 2<<3 | 2 // Message.batch
	tagSeq   = 1 << 3   // Batch.seq
)

func splitProto(message []byte) (numbered, error) {
	if len(message) == 0 || message[0] != tagBatch {
		return numbered{}, errors.New("a binary message does not begin with its batch")
	}
	size, n := binary.Uvarint(message[1:])
	body := message[1+max(n, 0):]
	if n <= 0 || uint64(len(body)) < size || !bytes.HasPrefix(body, []byte{tagSeq, 1}) {
		return numbered{}, errors.New("a batch does not begin with its number")
	}
	return numbered{rest: body[2:], binary: true, tail: len(body) - int(size)}, nil
}

// appendNumber appends the message with a number.
func (p *numbered) appendNumber(dst []byte, seq uint64) []byte {
	if !p.binary {
		dst = strconv.AppendUint(append(dst, `{"seq":`...), seq, 10)
		return append(dst, p.rest...)
	}
	var number [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(number[:], seq)
	dst = binary.AppendUvarint(append(dst, tagBatch), uint64(len(p.rest)-p.tail+1+n))
	dst = append(append(dst, tagSeq), number[:n]...)
	return append(dst, p.rest...)
}

// script is what an agent sends in a session, encoded once for all agents.
type script struct {
	form    form
	dataset *dataset
	declare []byte
	first   []numbered // with the definitions of what is new in the session
	again   []numbered // when all is defined
}

func newScript(d *dataset, f form) (*script, error) {
	s := &script{form: f, dataset: d}
	encode := f.encoder()
	var err error
	if s.declare, err = encode(&d.declare); err != nil {
		return nil, fmt.Errorf("declaring connections: %w", err)
	}
	for _, round := range []*[]numbered{&s.first, &s.again} {
		for i := range d.batches {
			m := d.batches[i]
			m.Batch.Seq = 1 // what split takes away
			data, err := encode(&m)
			if err != nil {
				return nil, fmt.Errorf("batch %d: %w", i, err)
			}
			p, err := f.split(data)
			if err != nil {
				return nil, fmt.Errorf("batch %d: %w", i, err)
			}
			*round = append(*round, p)
		}
	}
	return s, nil
}

// payload is the batch that is the n-th of a session, from 1. Agents of different shifts send
// different batches at a time.
func (s *script) payload(n, shift uint64) *numbered {
	if n <= uint64(len(s.first)) {
		return &s.first[n-1]
	}
	return &s.again[(n-1+shift)%uint64(len(s.again))]
}

// bytesPerEvent is what an event takes in a message when all is defined.
func (s *script) bytesPerEvent() float64 {
	total := 0
	for i := range s.again {
		total += len(s.again[i].appendNumber(nil, 1))
	}
	return float64(total) / float64(len(s.again)*s.dataset.events)
}

// agent is a session with a receiver. It is used by one goroutine at a time.
type agent struct {
	script *script
	conn   *websocket.Conn
	seq    uint64 // of the last batch sent
	shift  uint64 // of the script
	base   uint64 // the number before that with which the script began
	buf    []byte

	windowBytes int64 // of the welcome
}

// dialAgent opens a session and declares the connections. An instance is the
// agent's own; tlsConfig is nil for ws.
func dialAgent(ctx context.Context, address string, s *script, instance string, m *meter, tlsConfig *tls.Config) (*agent, error) {
	largest := 0
	for i := range s.first {
		largest = max(largest, len(s.first[i].rest))
	}
	// One frame a message: gorilla cuts at the buffer.
	dialer := websocket.Dialer{
		NetDialContext: m.dial, Subprotocols: []string{s.form.subprotocol}, TLSClientConfig: tlsConfig,
		ReadBufferSize: 512, WriteBufferSize: max(largest, len(s.declare)) + 64,
		WriteBufferPool: writeBuffers,
	}
	scheme := "ws"
	if tlsConfig != nil {
		scheme = "wss"
	}
	conn, resp, err := dialer.DialContext(ctx, scheme+"://"+address+"/v1/wsstats", nil)
	if err != nil {
		return nil, fmt.Errorf("an agent cannot connect: %w", err)
	}
	_ = resp.Body.Close()
	a := &agent{script: s, conn: conn}
	if err := a.greet(instance); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return a, nil
}

func (a *agent) greet(instance string) error {
	resource := slices.Clone(a.script.dataset.resource)
	hello := wire.Message{Form: wire.FormHello, Hello: wire.Hello{Instance: instance, AgentName: "bench", Resource: resource}}
	data, err := a.script.form.encoder()(&hello)
	if err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	if err := a.conn.WriteMessage(a.script.form.opcode, data); err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	for {
		reply, err := a.read()
		if err != nil {
			return err
		}
		if reply.Welcome != nil {
			a.windowBytes = reply.Welcome.WindowBytes
			break
		}
	}
	if len(a.script.dataset.declare.Batch.Connections) == 0 {
		return nil
	}
	if err := a.conn.WriteMessage(a.script.form.opcode, a.script.declare); err != nil {
		return fmt.Errorf("declaring connections: %w", err)
	}
	return nil
}

func (a *agent) read() (wire.Reply, error) {
	_, data, err := a.conn.ReadMessage()
	if err != nil {
		return wire.Reply{}, fmt.Errorf("reading a reply: %w", err)
	}
	reply, err := wire.DecodeReply(data)
	switch {
	case err != nil:
		return reply, fmt.Errorf("reading a reply: %w", err)
	case reply.Error != nil:
		return reply, fmt.Errorf("the receiver complains: %s: %s", reply.Error.Code, reply.Error.Message)
	case reply.GoAway != nil:
		return reply, fmt.Errorf("the receiver goes away: %s", reply.GoAway.Reason)
	case reply.Rejected != nil:
		return reply, fmt.Errorf("the receiver rejects %d events: %s", reply.Rejected.Count, reply.Rejected.First)
	}
	return reply, nil
}

// write sends the next batch.
func (a *agent) write() error {
	a.seq++
	a.buf = a.script.payload(a.seq-a.base, a.shift).appendNumber(a.buf[:0], a.seq)
	if err := a.conn.WriteMessage(a.script.form.opcode, a.buf); err != nil {
		return fmt.Errorf("sending a batch: %w", err)
	}
	return nil
}

// send sends the next batch and waits until it is acknowledged.
func (a *agent) send(context.Context) error {
	if err := a.write(); err != nil {
		return err
	}
	for {
		reply, err := a.read()
		if err != nil {
			return err
		}
		if reply.Nack != 0 {
			return fmt.Errorf("batch %d was refused: %s: %s", reply.Nack, reply.Code, reply.Message)
		}
		if reply.Ack >= a.seq {
			return nil
		}
	}
}

// ready sends what defines all that later batches use.
func (a *agent) ready(ctx context.Context) error {
	for range a.script.first {
		if err := a.send(ctx); err != nil {
			return err
		}
	}
	return nil
}

// close says goodbye, so that the receiver has no session that vanished.
func (a *agent) close() error {
	message := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	return errors.Join(a.conn.WriteControl(websocket.CloseMessage, message, time.Now().Add(time.Second)), a.conn.Close())
}

// newWsstatsPeer is agents that write one form to the receiver at an address.
func newWsstatsPeer(p peer, address string, s *script) peer {
	p.events, p.first = s.dataset.events, len(s.first)
	p.dial = func(ctx context.Context, m *meter, i int) (client, error) {
		instance := fmt.Sprintf("bench-%d-%d", time.Now().UnixNano(), i)
		a, err := dialAgent(ctx, address, s, instance, m, nil)
		if err != nil {
			return nil, err
		}
		a.shift = uint64(i * len(s.again) / 4)
		return a, a.ready(ctx)
	}
	return p
}
