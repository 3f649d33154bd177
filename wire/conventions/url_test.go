package conventions

import (
	neturl "net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRedactURL(t *testing.T) {
	tests := []struct{ url, want, withQuery string }{
		{"", "", ""},
		{"ws://example.com/chat", "ws://example.com/chat", "ws://example.com/chat"},
		{"ws://example.com/chat?token=1#top", "ws://example.com/chat", "ws://example.com/chat?token=1"},
		{"ws://example.com?token=1", "ws://example.com", "ws://example.com?token=1"},
		{"ws://example.com/#a?b", "ws://example.com/", "ws://example.com/"},
		{"wss://u:p@example.com:8443/chat?a=b@c", "wss://example.com:8443/chat", "wss://example.com:8443/chat?a=b@c"},
		{"wss://u:p@ss@example.com/", "wss://example.com/", "wss://example.com/"},
		{"wss://user@[2001:db8::1]:80/", "wss://[2001:db8::1]:80/", "wss://[2001:db8::1]:80/"},
		{"wss://user@example.com", "wss://example.com", "wss://example.com"},
		{"wss://@example.com", "wss://example.com", "wss://example.com"},
		{"//user@example.com/chat", "//example.com/chat", "//example.com/chat"},
		// An @ in a path or a query is none of a user.
		{"ws://example.com/@alice", "ws://example.com/@alice", "ws://example.com/@alice"},
		{"ws://example.com//a@b/", "ws://example.com//a@b/", "ws://example.com//a@b/"},
		{"ws://example.com?mail=a@b", "ws://example.com", "ws://example.com?mail=a@b"},
		{"/chat/@alice?x", "/chat/@alice", "/chat/@alice?x"},
		{"/@alice//b@c", "/@alice//b@c", "/@alice//b@c"},
		{"example.com:80/@alice", "example.com:80/@alice", "example.com:80/@alice"},
		// What is no proper URL.
		{"user:p@example.com/chat", "example.com/chat", "example.com/chat"},
		{"user:p@example.com//x", "example.com//x", "example.com//x"},
		{"ws:user:p@example.com/chat", "example.com/chat", "example.com/chat"},
		{"ws:/user@example.com/", "ws:/example.com/", "ws:/example.com/"},
		{"ws:///user@example.com/", "ws:///example.com/", "ws:///example.com/"},
		{`ws:\\user@example.com/`, `ws:\\example.com/`, `ws:\\example.com/`},
		{`ws://user\@example.com/`, "ws://example.com/", "ws://example.com/"},
		{" ws://user@example.com/", " ws://example.com/", " ws://example.com/"},
		{"w\ns:\t/\n/user@example.com/", "w\ns:\t/\n/example.com/", "w\ns:\t/\n/example.com/"},
		{"a@ws://user@example.com/", "ws://example.com/", "ws://example.com/"},
		{"ws://a@/b@/c@example.com/d", "ws://example.com/d", "ws://example.com/d"},
		{"a@/b@c", "/b@c", "/b@c"},
		{"@", "", ""},
	}
	for _, tt := range tests {
		assert.Equal(t, tt.want, RedactURL(tt.url, false), "%q", tt.url)
		assert.Equal(t, tt.withQuery, RedactURL(tt.url, true), "%q with its query", tt.url)
	}
	assert.Zero(t, testing.AllocsPerRun(10, func() { RedactURL("ws://example.com/alice?b", true) }))
}

func FuzzRedactURL(f *testing.F) {
	for _, url := range []string{"", "wss://u:p@example.com:8443/chat?a=b@c#d", "//u@h", "/a@b", "u:p@h//c@d", "ws:u@h", `ws:\/u@h`, "a@b:/c@d", "ws://a@/b@c"} {
		f.Add(url, true)
		f.Add(url, false)
	}
	f.Fuzz(func(t *testing.T, url string, allowQuery bool) {
		got := RedactURL(url, allowQuery)
		require.NotContains(t, got, "#")
		if !allowQuery {
			require.NotContains(t, got, "?")
		}
		require.LessOrEqual(t, len(got), len(url))
		require.Equal(t, got, RedactURL(got, allowQuery), "what is cut has nothing to be cut")
		path, _, _ := strings.Cut(got, "?")
		if scheme, rest, ok := strings.Cut(path, "://"); ok && !strings.ContainsAny(scheme, `/\@:`) {
			host, _, _ := strings.Cut(rest, "/")
			require.NotContains(t, host, "@")
		}
		if u, err := neturl.Parse(got); err == nil {
			require.Nil(t, u.User, "%q", got)
		}
		if u, err := neturl.Parse(url); err == nil && u.User == nil && u.Opaque == "" && u.Host != "" {
			// Of a proper URL nothing else is cut.
			want, _, _ := strings.Cut(url, "#")
			if !allowQuery {
				want, _, _ = strings.Cut(want, "?")
			}
			require.Equal(t, want, got)
		}
	})
}
