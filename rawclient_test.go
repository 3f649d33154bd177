package wsstatsreceiver

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// Bits and opcodes of the first byte of a frame.
const (
	fin, rsv1, rsv2, rsv3                             = 0x80, 0x40, 0x20, 0x10
	opMore, opText, opBinary, opClose, opPing, opPong = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
)

// rawClient is a WebSocket client that sends what no library would.
type rawClient struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader

	upgraded http.Header // of the answer
}

// rawDial connects and upgrades by hand, with these header lines more.
func (tr *testReceiver) rawDial(t testing.TB, header ...string) *rawClient {
	t.Helper()
	return tr.rawDialAt(t, tr.cfg.Path, header...)
}

func (tr *testReceiver) rawDialAt(t testing.TB, path string, header ...string) *rawClient {
	t.Helper()
	conn, err := net.Dial("tcp", tr.sessions.addr.String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	c := &rawClient{t: t, conn: conn, in: bufio.NewReader(conn)}
	header = append([]string{
		"GET " + path + " HTTP/1.1", "Host: " + tr.sessions.addr.String(), "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
	}, header...)
	c.write([]byte(strings.Join(header, "\r\n") + "\r\n\r\n"))
	resp, err := http.ReadResponse(c.in, nil)
	require.NoError(t, err)
	_ = resp.Body.Close()
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	c.upgraded = resp.Header
	return c
}

// write sends bytes, up to the moment when the receiver wants no more.
func (c *rawClient) write(b []byte) bool {
	_ = c.conn.SetWriteDeadline(time.Now().Add(waitFor))
	_, err := c.conn.Write(b)
	return err == nil
}

// rawFrame is one masked frame.
func rawFrame(first byte, payload string) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n <= math.MaxUint16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b = append(b, key[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return b
}

// closeFrame is a close with a code and a reason.
func closeFrame(code int, reason string) []byte {
	return rawFrame(fin|opClose, string(binary.BigEndian.AppendUint16(nil, uint16(code)))+reason)
}

// fragments is a message in frames of so many bytes.
func fragments(op byte, message string, size int) []byte {
	var b []byte
	for len(message) > size {
		b = append(b, rawFrame(op, message[:size])...)
		op, message = opMore, message[size:]
	}
	return append(b, rawFrame(fin|op, message)...)
}

// next tells the next frame in a word or two: "pong x", "ack 1", "error
// malformed", "close 1002", and "end" where the connection ends. Pings and
// heartbeats are passed over: they come where a slow machine needs long.
func (c *rawClient) next() string {
	for {
		if word := c.frame(); word != "flow" && word != "ping" {
			return word
		}
	}
}

func (c *rawClient) frame() string {
	_ = c.conn.SetReadDeadline(time.Now().Add(waitFor))
	var head [2]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return "end"
	}
	size := int(head[1])
	if size == 126 {
		var long [2]byte
		_, _ = io.ReadFull(c.in, long[:])
		size = int(binary.BigEndian.Uint16(long[:]))
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(c.in, payload); err != nil {
		return "end"
	}
	switch head[0] {
	case fin | opText:
		return replyWords(c.t, payload)
	case fin | rsv1 | opText:
		in := flate.NewReader(io.MultiReader(bytes.NewReader(payload), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff")))
		inflated, err := io.ReadAll(in)
		require.NoError(c.t, err)
		return replyWords(c.t, inflated)
	case fin | opPing:
		return "ping"
	case fin | opPong:
		return "pong " + string(payload)
	case fin | opClose:
		if size == 0 {
			return "close 1005"
		}
		return fmt.Sprintf("close %d", binary.BigEndian.Uint16(payload))
	default:
		return fmt.Sprintf("frame %#x", head[0])
	}
}

// replyWords tells what a reply is.
func replyWords(t testing.TB, data []byte) string {
	t.Helper()
	reply, err := wire.DecodeReply(data)
	require.NoError(t, err)
	switch {
	case reply.Welcome != nil:
		return fmt.Sprintf("welcome %d", reply.Welcome.ResumeAfter)
	case reply.Ack != 0 && reply.Duplicate:
		return fmt.Sprintf("duplicate %d", reply.Ack)
	case reply.Ack != 0 && reply.Rejected != nil:
		return fmt.Sprintf("ack %d rejected %d", reply.Ack, reply.Rejected.Count)
	case reply.Ack != 0:
		return fmt.Sprintf("ack %d", reply.Ack)
	case reply.Nack != 0 && reply.Retryable:
		return fmt.Sprintf("later %d", reply.Nack)
	case reply.Nack != 0:
		return fmt.Sprintf("nack %d %s", reply.Nack, reply.Code)
	case reply.Error != nil:
		return "error " + reply.Error.Code
	case reply.GoAway != nil:
		return "goaway " + reply.GoAway.Reason
	default:
		return "flow"
	}
}

// conversation is all that comes, up to a close or the end. It answers a close
// by ending the connection.
func (c *rawClient) conversation() []string {
	heard := []string{}
	for {
		word := c.next()
		if word == "end" {
			return heard
		}
		heard = append(heard, word)
		if strings.HasPrefix(word, "close ") {
			_ = c.conn.Close()
			return heard
		}
	}
}
