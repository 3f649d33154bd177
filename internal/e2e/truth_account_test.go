package e2e

import "fmt"

// direction is an index of account: which way something went.
type direction int

const (
	toServer direction = iota
	toClient
)

// account is what one observer tells of one connection.
type account struct {
	messages [2][]message // by direction, in their order
	pings    [2]int
	pongs    [2]int
	closes   []closing // one, where all is well
	carried  [2]traffic
}

// closing is how a connection has ended: what the first close frame says.
type closing struct {
	code   int
	reason string
	by     string // client or server
	clean  bool   // both ends have sent a close frame
}

// traffic is what a direction has carried: the summary of a close.
type traffic struct{ messages, bytes int }

// wireAccount is the account of the frames themselves.
type wireAccount struct {
	account
	interleaved [2]int      // control frames between the fragments of a message
	unfinished  [2]*message // nil: none
}

// accountOf makes an account of a TCP stream's packets, by counting frames alone, and
// names it: the address that listens, and the path.
func accountOf(packets []packet) (name string, a wireAccount, err error) {
	port := packets[0].to
	name = "127.0.0.1:" + port + packets[0].path
	for _, p := range packets {
		for _, f := range p.frames {
			d := toServer
			if p.from == port {
				d = toClient
			}
			if err := a.take(d, f); err != nil {
				return name, a, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if a.unfinished != [2]*message{} {
		return name, a, fmt.Errorf("%s: a message was not finished", name)
	}
	return name, a, nil
}

// take takes a frame (RFC 6455 section 5.2).
func (a *wireAccount) take(d direction, f wireFrame) error {
	m := a.unfinished[d]
	if f.opcode >= 8 && m != nil {
		a.interleaved[d]++
	}
	switch f.opcode {
	case 0, 1, 2:
		if (f.opcode == 0) != (m != nil) {
			return fmt.Errorf("a frame of opcode %d is out of order", f.opcode)
		}
		if m == nil {
			m = &message{typ: []string{"", "text", "binary"}[f.opcode], compressed: -1}
			if f.compressed {
				m.size, m.compressed = -1, 0
			}
		}
		m.frames++
		if m.compressed >= 0 {
			m.compressed += f.length
		} else {
			m.size += f.length
		}
		a.unfinished[d] = m
		if f.final {
			a.unfinished[d] = nil
			a.messages[d] = append(a.messages[d], *m)
			a.carried[d].messages++
			a.carried[d].bytes += max(m.size, m.compressed)
		}
	case 8:
		by := [2]string{toServer: "client", toClient: "server"}[d]
		if len(a.closes) == 0 {
			a.closes = []closing{{code: f.code, reason: f.reason, by: by}}
		} else {
			a.closes[0].clean = a.closes[0].by != by
		}
	case 9:
		a.pings[d]++
	case 10:
		a.pongs[d]++
	default:
		return fmt.Errorf("a frame of opcode %d", f.opcode)
	}
	return nil
}

// adapted is the account of an adapter where a is that of the wire: it observes by the
// library's methods, so that it knows the size of each message, which are those of the
// story, and neither frames nor compression.
func (a account) adapted(s *story) account {
	for d := range a.messages {
		a.messages[d] = nil
		a.carried[d] = traffic{messages: len(s.messages)}
		for _, m := range s.messages {
			a.messages[d] = append(a.messages[d], m)
			a.carried[d].bytes += m.size
		}
	}
	return a
}
