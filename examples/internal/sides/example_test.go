package sides

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	wsstats "github.com/wsstats/wsstatsreceiver/agents/go"
	"github.com/wsstats/wsstatsreceiver/examples/internal/receivertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type did string

func (d did) String() string { return string(d) }

// page is an example whose clients ask for a page once, and go on when asked to.
func page(printed io.Writer, then func(ctx context.Context, server string) error) *Example {
	flags := flag.NewFlagSet("page", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	closed := make(chan struct{})
	return &Example{
		Name: "page", Clients: "read", Listen: "localhost:8399", Path: "/page", Flags: flags, Out: printed,
		Serve: func(agent *wsstats.Agent) Service {
			return Service{
				Handler:  agent.Handler(http.NotFoundHandler()),
				Shutdown: func(context.Context) error { close(closed); return nil },
				Counts:   func() fmt.Stringer { return did("served") },
			}
		},
		Visit: func(ctx context.Context, agent *wsstats.Agent, server string) (fmt.Stringer, error) {
			agent.Observe(wsstats.Opening{Role: wsstats.RoleClient, URL: server}).Closed(1000, "", wsstats.Local)
			err := then(ctx, server)
			select {
			case <-closed:
				err = errors.Join(err, errors.New("the server has not waited"))
			case <-time.After(20 * time.Millisecond):
			}
			return did("read"), err
		},
	}
}

// Red when: the server is not stopped after the clients (it hangs).
func TestBothSides(t *testing.T) {
	r := receivertest.Start(t)
	var printed receivertest.Printed
	e := page(&printed, func(_ context.Context, server string) error {
		conn, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(server, "ws://"), "/page"))
		if err != nil {
			return err
		}
		return conn.Close()
	})
	require.NoError(t, e.Run(t.Context(), []string{"--listen", "127.0.0.1:0", "--collector", r.URL}))
	assert.Equal(t, map[string]int{"handshake": 1, "close": 1, "1000": 1}, r.Events("page-client"))
	for _, line := range []string{
		"page: reports to " + r.URL + "\n",
		"page: listening on ws://127.0.0.1:",
		"page-client: read; agent: 2 events, 2 acknowledged, 0 dropped\n",
		"page-server: served; agent: 0 events, 0 acknowledged, 0 dropped\n",
	} {
		assert.Contains(t, printed.String(), line)
	}
}

// Red when: a context that ends does not end the clients, or ends the server before them.
func TestInterrupted(t *testing.T) {
	r := receivertest.Start(t)
	var printed receivertest.Printed
	ctx, cancel := context.WithCancel(t.Context())
	e := page(&printed, func(ctx context.Context, _ string) error {
		cancel()
		<-ctx.Done()
		return nil
	})
	require.NoError(t, e.Run(ctx, []string{"--listen", "127.0.0.1:0", "--collector", r.URL}))
	assert.Contains(t, printed.String(), "page-server: served; ")
}

// The two commands are two processes: a server, until it is stopped, and clients.
func TestOneSide(t *testing.T) {
	r := receivertest.Start(t)
	var printed receivertest.Printed
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- page(&printed, nil).Run(ctx, []string{"serve", "--listen", "127.0.0.1:0", "--collector", r.URL})
	}()
	require.Eventually(t, func() bool { return strings.Contains(printed.String(), "listening on") }, 5*time.Second, time.Millisecond)
	told := errors.New("not reached")
	e := page(&printed, func(_ context.Context, server string) error {
		assert.Equal(t, "ws://elsewhere/page", server)
		return told
	})
	require.ErrorIs(t, e.Run(t.Context(), []string{"read", "--server", "ws://elsewhere/page", "--collector", r.URL}), told)
	assert.NotContains(t, printed.String(), "page-server")
	cancel()
	require.NoError(t, <-served)
	assert.Contains(t, printed.String(), "page-server: served; ")
}

func TestMistakes(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"listen"}, "usage: page [serve|read] [flags], see page --help"},
		{[]string{"serve", "--listen", "nowhere"}, "nowhere"},
		{[]string{"--listen", taken.Addr().String()}, "address already in use"},
		{[]string{"--listen", "127.0.0.1:0", "--collector", "http://localhost"}, "endpoint"},
		{[]string{"serve", "now"}, `unexpected argument "now"`},
		{[]string{"--frequency", "1"}, "-frequency"},
		{[]string{"--help"}, flag.ErrHelp.Error()},
	} {
		e := page(io.Discard, func(context.Context, string) error { return nil })
		assert.ErrorContains(t, e.Run(t.Context(), tc.args), tc.want)
	}
}

// What could not be handed over is said, and is an error.
//
// Red when: report says what was acknowledged twice, or flush swallows its error.
func TestReceiverIsAway(t *testing.T) {
	var printed receivertest.Printed
	e := page(&printed, func(context.Context, string) error { return nil })
	e.drain = 10 * time.Millisecond
	err := e.Run(t.Context(), []string{"read", "--collector", "ws://127.0.0.1:1"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "the receiver has not taken all of page-client")
	assert.Contains(t, printed.String(), "page-client: read; agent: 2 events, 0 acknowledged, 2 dropped\n")
}
