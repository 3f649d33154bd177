package wsstatsreceiver

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// hostileRow is a row of the table of hostile input in docs/security.md: what
// is done, the answer, and the counter that shows it.
type hostileRow struct {
	row  int // its number there
	name string

	options testOptions // its tel is set by the test
	do      func(h *hostile)
	heard   []string         // all that the receiver sends, to the end of the connection
	ends    string           // the last of it, where the rest is not of interest
	status  int              // of the HTTP answer
	shows   map[string]int64 // such as `dropped{reason="budget"}`: exactly that
}

// hostile is one run of a row.
type hostile struct {
	*testing.T
	r        *testReceiver
	encoding encoding
	client   *rawClient
	answer   answer // of HTTP
}

// encoding is a form of the protocol. Each suite runs through all of them.
type encoding struct {
	subprotocol string
	opcode      byte
	encode      func(*wire.Message) []byte
}

var encodings = []encoding{
	{wire.SubprotocolJSON, opText, func(m *wire.Message) []byte { return wire.AppendJSON(nil, m) }},
	{wire.SubprotocolProto, opBinary, func(m *wire.Message) []byte {
		data, err := new(wire.ProtoEncoder).Append(nil, m)
		if err != nil {
			panic(err)
		}
		return data
	}},
}

// transcode turns a message that is written in JSON into the encoding.
func (e encoding) transcode(t testing.TB, text string) []byte {
	t.Helper()
	var m wire.Message
	d := wire.Decoder{Limits: wire.Limits{ValueBytes: math.MaxInt}} // what is long stays long
	require.NoError(t, d.DecodeJSON([]byte(text), &m), text)
	return e.encode(&m)
}

func eachEncoding(t *testing.T, run func(t *testing.T, e encoding)) {
	t.Helper()
	for _, e := range encodings {
		t.Run(e.subprotocol, func(t *testing.T) { run(t, e) })
	}
}

// runHostile runs the rows of a suite.
func runHostile(t *testing.T, rows []hostileRow) {
	t.Helper()
	eachEncoding(t, func(t *testing.T, e encoding) {
		t.Helper()
		runHostileIn(t, e, rows)
	})
}

// runHostileIn runs rows that are of one encoding alone.
func runHostileIn(t *testing.T, e encoding, rows []hostileRow) {
	t.Helper()
	for _, row := range rows {
		t.Run(fmt.Sprintf("%d %s", row.row, row.name), func(t *testing.T) { runHostileRow(t, e, &row) })
	}
}

func runHostileRow(t *testing.T, e encoding, row *hostileRow) {
	t.Helper()
	tel := componenttest.NewTelemetry()
	row.options.tel = tel
	h := &hostile{T: t, r: startReceiver(t, row.options), encoding: e}
	row.do(h)
	if row.heard != nil {
		assert.Equal(t, row.heard, h.client.conversation())
	}
	if row.ends != "" {
		heard := h.client.conversation()
		assert.Equal(t, row.ends, heard[len(heard)-1])
	}
	assert.Equal(t, row.status, h.answer.status, h.answer.body)
	for counter, want := range row.shows {
		var got int64
		assert.Eventually(t, func() bool {
			got = shown(t, tel, counter)
			return got == want
		}, waitFor, pollEvery, "%s", counter)
		assert.Equal(t, want, got, counter)
	}
	assertDocumented(t, row)
}

var counterName = regexp.MustCompile(`^(\w+)(?:\{(\w+)="(\w+)"\})?$`)

// shown is the value of one of the receiver's counters, written as in the docs.
func shown(t *testing.T, tel *componenttest.Telemetry, counter string) int64 {
	t.Helper()
	parts := counterName.FindStringSubmatch(counter)
	require.NotNil(t, parts, counter)
	m, err := tel.GetMetric("otelcol_receiver_wsstats_" + parts[1])
	if err != nil {
		return 0 // nothing was counted yet
	}
	var sum int64
	for _, dp := range m.Data.(metricdata.Sum[int64]).DataPoints {
		for _, kv := range dp.Attributes.ToSlice() {
			if string(kv.Key) == parts[2] && kv.Value.String() == parts[3] {
				sum += dp.Value
			}
		}
		if parts[2] == "" {
			sum += dp.Value
		}
	}
	return sum
}

// join connects a raw client in the encoding of the run.
func (h *hostile) join() *rawClient {
	h.client = h.r.rawDial(h.T, "Sec-WebSocket-Protocol: "+h.encoding.subprotocol)
	return h.client
}

// say sends a message that is written in JSON here, in the encoding of the run.
func (h *hostile) say(messages ...string) {
	h.Helper()
	for _, text := range messages {
		h.client.write(h.frame(text))
	}
}

func (h *hostile) frame(text string) []byte {
	h.Helper()
	return rawFrame(fin|h.encoding.opcode, string(h.encoding.transcode(h, text)))
}

// greet joins and says hello.
func (h *hostile) greet(instance string) *rawClient {
	h.Helper()
	c := h.join()
	h.say(`{"hello":{"instance":"` + instance + `"}}`)
	require.Regexp(h, "^welcome", c.next())
	return c
}

// leave closes the connection, as a well-bred agent does.
func (h *hostile) leave() { h.client.write(closeFrame(websocket.CloseNormalClosure, "")) }

// flood sends the same bytes again and again, at most so many, until the
// receiver wants no more. It returns at once: what comes back is to be read.
func (h *hostile) flood(b []byte, times int) {
	const chunk = 1 << 10
	many := []byte(strings.Repeat(string(b), chunk))
	client := h.client
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range times / chunk {
			if !client.write(many) {
				return
			}
		}
	}()
	h.Cleanup(func() {
		_ = client.conn.Close()
		<-done
	})
}

// heldBytes is the memory in use, after all that can be freed is.
func heldBytes() int64 {
	runtime.GC()
	runtime.GC() // what a pool held for one more
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) + int64(m.StackInuse)
}

var documentedRow = regexp.MustCompile(`(?m)^\| (\d+) \|.*$`)

// documentedRows are the rows of the table in docs/security.md, by number.
func documentedRows(t *testing.T) map[int]string {
	t.Helper()
	data, err := os.ReadFile("docs/security.md")
	require.NoError(t, err)
	rows := make(map[int]string)
	for _, m := range documentedRow.FindAllStringSubmatch(string(data), -1) {
		n, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		rows[n] += m[0] + "\n"
	}
	return rows
}

// assertDocumented checks that the docs tell what a row shows.
func assertDocumented(t *testing.T, row *hostileRow) {
	t.Helper()
	text := documentedRows(t)[row.row]
	require.NotEmpty(t, text, "docs/security.md has no row %d", row.row)
	for counter := range row.shows {
		assert.Contains(t, text, counter, "row %d of docs/security.md", row.row)
	}
	if row.status >= 300 {
		assert.Contains(t, text, strconv.Itoa(row.status), "row %d of docs/security.md", row.row)
	}
	for _, word := range append(row.heard, row.ends) {
		if code, ok := strings.CutPrefix(word, "close "); ok && code != "1000" {
			assert.Contains(t, text, code, "row %d of docs/security.md", row.row)
		}
	}
}

// Every row of the docs names the tests that show it, and these exist.
func TestHostileInputIsDocumented(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	whole, err := filepath.Glob("internal/e2e/*_test.go")
	require.NoError(t, err)
	files = append(files, whole...)
	var tests strings.Builder
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		tests.Write(data)
	}
	rows := documentedRows(t)
	for n := 1; n <= 21; n++ {
		names := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(rows[n], -1)
		assert.NotEmpty(t, names, "row %d", n)
		for _, name := range names {
			assert.Contains(t, tests.String(), "func "+name[1]+"(t *testing.T) {", "row %d", n)
		}
	}
}
