package observed

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wsstats/wsstatsreceiver/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	arrival = int64(1767225600_000000000)
	second  = int64(time.Second)
)

// defaults are the options of a receiver without configuration, with ids that
// begin with eeee in place of random ones.
func defaults() *Options {
	n := uint16(0)
	return &Options{
		Traces: true, MaxConnections: 100, ClosedTTL: time.Minute, ErrorCloseCodes: map[int64]struct{}{4001: {}},
		Random: func(b []byte) {
			n++
			clear(b)
			b[0], b[1] = 0xee, 0xee
			binary.BigEndian.PutUint16(b[len(b)-2:], n)
		},
	}
}

// decode reads a message; ' stands for ".
func decode(t testing.TB, text string) *wire.Message {
	t.Helper()
	m := new(wire.Message)
	require.NoError(t, new(wire.Decoder).DecodeJSON([]byte(strings.ReplaceAll(text, "'", `"`)), m))
	require.Empty(t, m.Batch.Rejected)
	return m
}

// resolve resolves a message and does not commit it.
func resolve(t testing.TB, table *Table, text string) *Resolved {
	t.Helper()
	out := new(Resolved)
	table.Resolve(decode(t, text), arrival, out)
	return out
}

// take resolves and commits a message of which nothing is rejected.
func take(t testing.TB, table *Table, text string) *Resolved {
	t.Helper()
	out := resolve(t, table, text)
	require.Empty(t, out.Rejected)
	table.Commit(arrival)
	return out
}

// row takes a message and returns its last row.
func row(t testing.TB, table *Table, text string) Row {
	t.Helper()
	out := take(t, table, text)
	require.NotEmpty(t, out.Rows)
	return out.Rows[len(out.Rows)-1]
}

func traceID(t testing.TB, s string) wire.TraceID {
	t.Helper()
	id, ok := wire.ParseTraceID(s)
	require.True(t, ok)
	return id
}

func spanID(t testing.TB, s string) wire.SpanID {
	t.Helper()
	id, ok := wire.ParseSpanID(s)
	require.True(t, ok)
	return id
}
