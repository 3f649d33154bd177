package wsstatsreceiver

import (
	"bytes"
	"compress/flate"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const million = 1 << 20

func limits(set func(*LimitsConfig)) testOptions {
	return testOptions{config: func(cfg *Config) { set(&cfg.Limits) }}
}

// once is a counter that shows one.
func once(counter string) map[string]int64 { return map[string]int64{counter: 1} }

func closes(code string) map[string]int64 { return once(`session_ends{close_code="` + code + `"}`) }

func TestHostileSizes(t *testing.T) {
	small := limits(func(l *LimitsConfig) { l.MessageBytes = 4096 })
	runHostile(t, []hostileRow{
		{
			row: 5, name: "over the limit in one frame", options: small,
			do:    func(h *hostile) { h.join().write(rawFrame(fin|h.encoding.opcode, strings.Repeat(" ", 4097))) },
			heard: []string{"close 1009"}, shows: closes("1009"),
		},
		{
			row: 5, name: "over the limit in fragments", options: small,
			do:    func(h *hostile) { h.join().write(fragments(h.encoding.opcode, strings.Repeat(" ", 4097), 100)) },
			heard: []string{"close 1009"}, shows: closes("1009"),
		},
		{
			row: 5, name: "a length of 2^63-1",
			do: func(h *hostile) {
				h.join()
				before := heldBytes()
				h.client.write([]byte{fin | h.encoding.opcode, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, '[', ']'})
				require.Equal(h, "close 1009", h.client.next())
				assert.Less(h, heldBytes()-before, int64(1<<20))
			},
			heard: []string{}, shows: closes("1009"),
		},
		{
			row: 6, name: "a bomb of 1000:1",
			options: testOptions{config: func(cfg *Config) { cfg.Compression, cfg.Limits.MessageBytes = true, 64<<10 }},
			do: func(h *hostile) {
				h.client = h.r.rawDial(h.T, "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover")
				mega := deflated(h.T, strings.Repeat(" ", 1<<20)) + "\x00\x00\xff\xff"
				bomb := rawFrame(fin|rsv1|opText, strings.Repeat(mega, 64))
				require.Less(h, len(bomb), 70<<10)
				before := allocatedBytes()
				h.client.write(bomb)
				require.Equal(h, "close 1009", h.client.next())
				assert.Less(h, allocatedBytes()-before, uint64(1<<20), "inflation stops at the limit")
			},
			heard: []string{}, shows: closes("1009"),
		},
		{
			row: 6, name: "what cannot be inflated",
			options: testOptions{config: func(cfg *Config) { cfg.Compression = true }},
			do: func(h *hostile) {
				h.client = h.r.rawDial(h.T, "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover")
				h.client.write(rawFrame(fin|rsv1|opText, "\xff\xff\xff\xff"))
			},
			heard: []string{"close 1007"}, shows: closes("1007"),
		},
	})
}

// deflated is a message as permessage-deflate sends it.
func deflated(t *testing.T, message string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	require.NoError(t, err)
	_, err = w.Write([]byte(message))
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

func allocatedBytes() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// What is declared and does not come costs nothing, however many declare it.
func TestHostileDeclaredLengths(t *testing.T) {
	eachEncoding(t, func(t *testing.T, e encoding) {
		const sessions = 200
		r := startReceiver(t, limits(func(l *LimitsConfig) { l.MessageTimeout = 100 * time.Millisecond }))
		clients := make([]*rawClient, sessions)
		for i := range clients {
			clients[i] = r.rawDial(t, "Sec-WebSocket-Protocol: "+e.subprotocol)
		}
		before := allocatedBytes()
		for _, c := range clients { // 4 MiB each, of which one byte comes
			c.write([]byte{fin | e.opcode, 0xff, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, ' '})
		}
		require.Eventually(t, func() bool { return r.sessions.len() == 0 }, waitFor, 50*time.Millisecond)
		assert.Less(t, allocatedBytes()-before, uint64(sessions*64<<10))
	})
}

func TestHostileFloods(t *testing.T) {
	hold := testOptions{config: func(cfg *Config) { cfg.Limits.MessageTimeout = 100 * time.Millisecond }}
	empty := string(rawFrame(opMore, ""))
	runHostile(t, []hostileRow{
		{
			row: 7, name: "a million empty fragments",
			do: func(h *hostile) {
				h.join().write(rawFrame(h.encoding.opcode, ""))
				h.flood([]byte(empty), million)
			},
			heard: []string{"close 1008"}, shows: closes("1008"),
		},
		{
			row: 7, name: "a million fragments of a byte",
			do: func(h *hostile) {
				h.join().write(rawFrame(h.encoding.opcode, " "))
				h.flood(rawFrame(opMore, " "), million)
			},
			heard: []string{"close 1008"}, shows: closes("1008"),
		},
		{
			row: 7, name: "a message that is never finished", options: hold,
			do:    func(h *hostile) { h.join().write(rawFrame(h.encoding.opcode, "[")) },
			heard: []string{}, shows: closes("0"),
		},
		{
			row: 7, name: "a frame that is never finished", options: hold,
			do: func(h *hostile) {
				f := rawFrame(fin|h.encoding.opcode, "[]")
				h.join().write(f[:len(f)-1])
			},
			heard: []string{}, shows: closes("0"),
		},
		{
			row: 8, name: "a million pings",
			do:   func(h *hostile) { h.join(); h.flood(rawFrame(fin|opPing, "x"), million) },
			ends: "close 1008", shows: closes("1008"),
		},
		{
			row: 8, name: "a million pongs that nobody asked for",
			do:    func(h *hostile) { h.join(); h.flood(rawFrame(fin|opPong, ""), million) },
			heard: []string{"close 1008"}, shows: closes("1008"),
		},
		{
			row: 8, name: "a pong that nobody asked for",
			do: func(h *hostile) {
				h.join().write(rawFrame(fin|opPong, "?"))
				h.say(batch(1, "c", 1))
				require.Equal(h, "ack 1", h.client.next())
				h.leave()
			},
			heard: []string{"close 1000"}, shows: closes("0"),
		},
	})
}

// An agent that does not read its answers holds a worker and its queue no
// longer than the time for one reply.
func TestHostileAgentThatDoesNotRead(t *testing.T) {
	runHostile(t, []hostileRow{{
		row: 9, name: "a peer that never reads its acks",
		options: testOptions{config: func(cfg *Config) { cfg.Limits.MalformedMessages = million }},
		do: func(h *hostile) {
			h.r.writeTimeout = 100 * time.Millisecond
			h.join()
			require.NoError(h, h.client.conn.(*net.TCPConn).SetReadBuffer(4096))
			require.Eventually(h, func() bool { return h.r.sessions.len() == 1 }, waitFor, pollEvery)
			require.NoError(h, below(h.r.sessions.all()[0].conn).(*net.TCPConn).SetWriteBuffer(4096))
			h.flood(rawFrame(fin|h.encoding.opcode, "x"), million)
			require.Eventually(h, func() bool { return h.r.sessions.len() == 0 }, waitFor, pollEvery)
			assert.Zero(h, h.r.budget.Used())
		},
		shows: closes("0"),
	}})
}

func TestHostileFrames(t *testing.T) {
	raw := func(b ...byte) func(h *hostile) { return func(h *hostile) { h.join().write(b) } }
	send := func(frames ...[]byte) func(h *hostile) { return raw(bytes.Join(frames, nil)...) }
	var rows []hostileRow
	for _, tt := range []struct {
		name string
		do   func(h *hostile)
		code string
	}{
		{"unmasked", raw(fin|opText, 2, '[', ']'), "1002"},
		{"first reserved bit", send(rawFrame(fin|rsv1|opText, "[]")), "1002"},
		{"second reserved bit", send(rawFrame(fin|rsv2|opText, "[]")), "1002"},
		{"third reserved bit", send(rawFrame(fin|rsv3|opText, "[]")), "1002"},
		{"reserved opcode", send(rawFrame(fin|0x3, "")), "1002"},
		{"reserved control opcode", send(rawFrame(fin|0xB, "")), "1002"},
		{"oversized ping", send(rawFrame(fin|opPing, strings.Repeat("x", 126))), "1002"},
		{"fragmented ping", send(rawFrame(opPing, "")), "1002"},
		{"fragmented close", send(rawFrame(opClose, "")), "1002"},
		{"oversized close", send(closeFrame(1000, strings.Repeat("x", 124))), "1002"},
		{"close of one byte", send(rawFrame(fin|opClose, "\x03")), "1002"},
		{"close 999", send(closeFrame(999, "")), "1002"},
		{"close 1005", send(closeFrame(1005, "")), "1002"},
		{"close 1006", send(closeFrame(1006, "")), "1002"},
		{"close 5000", send(closeFrame(5000, "")), "1002"},
		{"close reason that is not UTF-8", send(closeFrame(1000, "\xff")), "1007"},
		{"length of 64 bits", raw(fin|opText, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0), "1002"},
		{"length not in its shortest form", raw(fin|opText, 0xfe, 0, 2, 0, 0, 0, 0, '[', ']'), "1002"},
		{"continuation of nothing", send(rawFrame(fin|opMore, "[]")), "1002"},
		{"a message inside a message", send(rawFrame(opText, "["), rawFrame(fin|opText, "[]")), "1002"},
	} {
		rows = append(rows, hostileRow{row: 10, name: tt.name, do: tt.do, heard: []string{"close " + tt.code}, shows: closes(tt.code)})
	}
	rows = append(rows,
		hostileRow{
			row: 10, name: "a message of the other kind", heard: []string{"close 1003"}, shows: closes("1003"),
			do: func(h *hostile) { h.join().write(rawFrame(fin|(opText+opBinary-h.encoding.opcode), "[]")) },
		},
	)
	runHostile(t, rows)
}

func TestHostileText(t *testing.T) {
	runHostileIn(t, encodings[0], []hostileRow{
		{
			row: 10, name: "bad UTF-8", heard: []string{"close 1000"}, shows: once(`dropped{reason="malformed"}`),
			do: func(h *hostile) {
				h.join().write(rawFrame(fin|opText, "{\"event\":\"send\",\"x\":\"\xc0\xaf\"}"))
				assert.Equal(h, "error malformed", h.client.next())
				h.leave()
			},
		},
		{
			row: 10, name: "bad UTF-8 where numbers are in use", heard: []string{"close 1007"}, shows: closes("1007"),
			do: func(h *hostile) {
				h.join()
				h.say(batch(1, "c", 1))
				assert.Equal(h, "ack 1", h.client.next())
				h.client.write(rawFrame(fin|opText, "\xff"))
			},
		},
	})
}
