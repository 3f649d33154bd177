package wsstats

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/wsstats/wsstatsreceiver/wire"
)

func TestParseTraceparent(t *testing.T) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for s, want := range map[string]bool{
		good:                                   true,
		strings.Replace(good, "00-", "cc-", 1): true,
		strings.Replace(good, "00-", "cc-", 1) + "-what-comes": true,
		"":         false,
		good[:54]:  false,
		good + "-": false,
		good + "0": false,
		strings.Replace(good, "00-", "cc-", 1) + "0":                             false,
		strings.Replace(good, "00-", "ff-", 1):                                   false,
		strings.ToUpper(good):                                                    false,
		strings.Replace(good, "4bf", "xyz", 1):                                   false,
		strings.ReplaceAll(good, "-", "_"):                                       false,
		"00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01":                 false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-" + strings.Repeat("0", 16) + "-01": false,
	} {
		tc, ok := parseTraceparent(s)
		assert.Equal(t, want, ok, s)
		assert.Equal(t, want, tc.TraceID != wire.TraceID{}, s)
		if ok {
			assert.Equal(t, byte(1), tc.Flags)
		}
	}
}

func TestUpgradeFacts(t *testing.T) {
	for _, tt := range []struct {
		name          string
		change        func(*http.Request)
		url, ip, port string
	}{
		{"plain", func(*http.Request) {}, "ws://example.com/a%2Fb", "192.0.2.1", "1234"},
		{"IPv6", func(r *http.Request) { r.RemoteAddr = "[fe80::1%eth0]:7" }, "ws://example.com/a%2Fb", "fe80::1", "7"},
		{"mapped", func(r *http.Request) { r.RemoteAddr = "[::ffff:192.0.2.9]:7" }, "ws://example.com/a%2Fb", "192.0.2.9", "7"},
		{"socket file", func(r *http.Request) { r.RemoteAddr = "@" }, "ws://example.com/a%2Fb", "", "0"},
		{"no host", func(r *http.Request) { r.Host = ""; r.URL.Host = "other"; r.URL.Path, r.URL.RawPath = "", "" }, "ws://other/", "192.0.2.1", "1234"},
		{"not UTF-8", func(r *http.Request) { r.Host = "a\xffb" }, "ws://ab/a%2Fb", "192.0.2.1", "1234"},
		{"long", func(r *http.Request) { r.Host = strings.Repeat("a", 4000) }, "ws://" + strings.Repeat("a", 2043), "192.0.2.1", "1234"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rec := newFakeRecorder()
			r := httptest.NewRequest(http.MethodGet, "http://user:secret@example.com/a%2Fb?token=secret#secret", nil)
			r.Header = upgradeRequest().Header
			tt.change(r)
			up := newServerUpgrade(rec, r)
			up.fail(400, "")
			e := rec.all()[0].extra
			assert.Equal(t, tt.url, e.Str(wire.AttrURL))
			assert.Equal(t, tt.ip, e.Str(wire.AttrPeerIP))
			assert.Equal(t, tt.port, port(int(e.Int(wire.AttrPeerPort))))
			assert.False(t, e.Has(wire.AttrShared) || e.Has(wire.AttrConnectionID))
			assert.NotContains(t, rec.String(), "secret")
			requireNothingReserved(t, rec)
		})
	}
}

func TestCompressedHeader(t *testing.T) {
	for value, want := range map[string]bool{
		"":                           false,
		"permessage-deflate":         true,
		"x, Permessage-Deflate ;a=b": true,
		"permessage-deflated":        false,
		"x-webkit-deflate-frame; permessage-deflate": false,
	} {
		assert.Equal(t, want, compressed(http.Header{"Sec-Websocket-Extensions": {value}}), value)
	}
}
