package e2e

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// capture is tshark, which captures and dissects what goes through TCP ports of the
// loopback interface. It shares no code with this project, and sees frames only.
type capture struct {
	cmd    *exec.Cmd
	errors lockedBuffer

	seen   map[string][]packet // by TCP stream
	marks  chan string         // payloads of datagrams that it has seen
	ended  chan struct{}       // closed when it has: seen is valid then
	marker net.PacketConn      // where these datagrams go to
}

// packet is what one packet has finished: an upgrade, or frames.
type packet struct {
	from, to string // ports
	path     string // of an upgrade
	frames   []wireFrame
}

// wireFrame is a frame as its header has it.
type wireFrame struct {
	opcode     int
	final      bool
	compressed bool
	length     int
	code       int // of a close; 0: it has none
	reason     string
}

// fields are what tshark prints of a packet, in this order. What stands more than
// once in a packet has commas between.
var fields = []string{
	"tcp.stream", "tcp.srcport", "tcp.dstport", "http.request.uri",
	"websocket.opcode", "websocket.fin", "websocket.rsv", "websocket.payload_length",
	"websocket.payload_length_ext_16", "websocket.payload_length_ext_64",
	"websocket.payload.close.status_code", "websocket.payload.close.reason",
	"udp.payload",
}

// startCapture returns when tshark captures what goes to and from the listeners.
func startCapture(t *testing.T, listeners []string) *capture {
	t.Helper()
	binary, err := exec.LookPath("tshark")
	if err != nil {
		skipOrFail(t, "no tshark")
	}
	marker, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = marker.Close() })
	filter := "udp port " + portOf(marker.LocalAddr().String())
	args := []string{
		"-n", "-l", "-i", "lo", "-s", "0", "-B", "64",
		"-o", "tcp.desegment_tcp_streams:TRUE", "-o", "tcp.reassemble_out_of_order:TRUE",
		"-T", "fields", "-Y", "websocket || http.request || udp.payload",
	}
	for _, address := range listeners {
		filter += " or tcp port " + portOf(address)
		args = append(args, "-d", "tcp.port=="+portOf(address)+",http")
	}
	for _, field := range fields {
		args = append(args, "-e", field)
	}
	c := &capture{
		cmd:  exec.Command(binary, append(args, "-f", filter)...),
		seen: map[string][]packet{}, marks: make(chan string, 1000), ended: make(chan struct{}), marker: marker,
	}
	c.cmd.Stderr = &c.errors
	out, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	failed := make(chan error, 1)
	go func() {
		defer close(c.ended)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		var wrong error
		for lines.Scan() {
			if err := c.take(lines.Text()); err != nil && wrong == nil {
				wrong = err
			}
		}
		if wrong == nil {
			wrong = lines.Err()
		}
		failed <- wrong
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-c.ended
		assert.NoError(t, <-failed, "tshark's output")
		_ = c.cmd.Wait() // it was waited for, or was killed
		if t.Failed() {
			t.Logf("tshark's messages:\n%s", c.errors.String())
		}
	})
	if !c.mark("begin", startTimeout) {
		if strings.Contains(strings.ToLower(c.errors.String()), "permission") {
			skipOrFail(t, "tshark may not capture")
		}
		t.Fatalf("tshark captures nothing")
	}
	return c
}

func portOf(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// mark sends datagrams until tshark has seen one: it has seen what was before.
func (c *capture) mark(text string, patience time.Duration) bool {
	tick := time.NewTicker(waitTick)
	defer tick.Stop()
	for deadline := time.After(patience); ; {
		if _, err := c.marker.WriteTo([]byte(text), c.marker.LocalAddr()); err != nil {
			return false
		}
		select {
		case seen := <-c.marks:
			if seen == text {
				return true
			}
		case <-tick.C:
		case <-c.ended:
			return false
		case <-deadline:
			return false
		}
	}
}

// stop returns what was seen of each stream, after all that was sent until now. Nothing
// may be missing from it.
func (c *capture) stop(t *testing.T) map[string][]packet {
	t.Helper()
	require.True(t, c.mark("end", 2*waitTimeout), "tshark sees what was sent")
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGINT))
	select {
	case <-c.ended:
	case <-time.After(stopTimeout):
		t.Fatalf("tshark still runs %v after SIGINT", stopTimeout)
	}
	require.NotRegexp(t, `packets? dropped`, c.errors.String())
	return c.seen
}

// take takes a line of tshark's.
func (c *capture) take(line string) error {
	values := strings.Split(line, "\t")
	if len(values) != len(fields) {
		return fmt.Errorf("%d fields expected, got %q", len(fields), line)
	}
	stream, p := values[0], packet{from: values[1], to: values[2], path: values[3]}
	if text := values[12]; text != "" {
		mark, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
		if err != nil {
			return err
		}
		select {
		case c.marks <- string(mark):
		default: // nobody waits
		}
		return nil
	}
	opcodes, finals, reserved := numbers(values[4]), numbers(values[5]), numbers(values[6])
	lengths, middle, long, codes := numbers(values[7]), numbers(values[8]), numbers(values[9]), numbers(values[10])
	if len(finals) != len(opcodes) || len(reserved) != len(opcodes) || len(lengths) != len(opcodes) {
		return fmt.Errorf("headers of %d frames expected, got %q", len(opcodes), line)
	}
	for i, opcode := range opcodes {
		f := wireFrame{opcode: opcode, final: finals[i] != 0, compressed: reserved[i] == 4, length: lengths[i]}
		switch f.length {
		case 126:
			f.length, middle = middle[0], middle[1:]
		case 127:
			f.length, long = long[0], long[1:]
		}
		if opcode == 8 && f.length >= 2 {
			f.code, codes, f.reason = codes[0], codes[1:], values[11]
		}
		p.frames = append(p.frames, f)
	}
	c.seen[stream] = append(c.seen[stream], p)
	return nil
}

// numbers are the values of a field of a packet, decimal or hexadecimal.
func numbers(list string) []int {
	if list == "" {
		return nil
	}
	var all []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.ParseInt(text, 0, 64)
		if err != nil {
			n = -1
		}
		all = append(all, int(n))
	}
	return all
}
