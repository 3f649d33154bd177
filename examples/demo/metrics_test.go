package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const scraped = `# TYPE ws_connections_active gauge
ws_connections_active{job="chat-client",ws_role="client"} 3
ws_connections_active{job="chat-server",ws_role="server"} 4
# TYPE ws_connections_total counter
ws_connections_total{job="chat-client",ws_protocol="ws"} 10
ws_connections_total{job="chat-server",ws_protocol="ws"} 11
# TYPE ws_connections_closed_total counter
ws_connections_closed_total{job="chat-server",ws_close_class="normal",ws_close_code="1000"} 5
ws_connections_closed_total{job="chat-server",ws_close_class="abnormal",ws_close_code="1006"} 2
# TYPE ws_messages_sent_total counter
ws_messages_sent_total{job="chat-server",ws_message_type="text"} 30
ws_messages_sent_total{job="chat-server",ws_message_type="binary"} 12
# TYPE ws_messages_received_total counter
ws_messages_received_total{job="chat-server"} 20
# TYPE ws_messages_bytes_total counter
ws_messages_bytes_total{job="chat-server"} 1234
# TYPE ws_message_size_bytes histogram
ws_message_size_bytes_bucket{job="chat-server",le="64"} 3
ws_message_size_bytes_bucket{job="chat-server",le="+Inf"} 4
ws_message_size_bytes_sum{job="chat-server"} 200
ws_message_size_bytes_count{job="chat-server"} 4
# TYPE ws_handshake_duration_seconds histogram
ws_handshake_duration_seconds_bucket{job="chat-server",le="+Inf"} 2
ws_handshake_duration_seconds_sum{job="chat-server"} 0.003
ws_handshake_duration_seconds_count{job="chat-server"} 2
`

func TestNumbersOfAService(t *testing.T) {
	f, err := parseMetrics(strings.NewReader(scraped))
	require.NoError(t, err)
	server := f.of("chat-server")
	require.Equal(t, numbers{
		active: 4, opened: 11, normal: 5, abnormal: 2, sent: 42, received: 20, bytes: 1234,
		meanSize: 50, handshake: 1500 * time.Microsecond,
	}, server)
	require.True(t, server.complete())
	require.False(t, f.of("chat-client").complete())
	require.InDelta(t, 21, f.of("").opened, 0)
	require.Equal(t, numbers{}, families(nil).of("chat-server"), "nothing scraped")
}

func TestScrape(t *testing.T) {
	for _, tc := range []struct {
		name    string
		handler http.HandlerFunc
		want    string
	}{
		{"fine", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(scraped)) }, ""},
		{"refused", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, "404"},
		{"nonsense", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{")) }, "read Prometheus text"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := httptest.NewServer(tc.handler)
			defer server.Close()
			f, err := scrape(t.Context(), server.URL)
			if tc.want != "" {
				require.ErrorContains(t, err, tc.want)
				return
			}
			require.NoError(t, err)
			require.Contains(t, f, "ws_connections_active")
		})
	}
}
