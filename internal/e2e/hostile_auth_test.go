package e2e

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// TestHostileCredentials asks the authenticators that collectors come with:
// whoever has not the right credentials gets no further than a 401, and neither
// the wrong ones nor the right ones come out anywhere.
func TestHostileCredentials(t *testing.T) {
	t.Parallel()
	secrets := make(map[string]string)
	secret := func(name string) string {
		if secrets[name] == "" {
			secrets[name] = newSecret()
		}
		return secrets[name]
	}
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(secret("old token")), 0o600))
	ports := freePorts(t, 4)
	c := newTalkative(t,
		"receivers::wsstats::http: {auth: {authenticator: bearertokenauth}, include_metadata: true}",
		"receivers::wsstats/basic::http: {endpoint: "+ports[0]+", auth: {authenticator: basicauth}, include_metadata: true}",
		"receivers::wsstats/scheme::http: {endpoint: "+ports[1]+", auth: {authenticator: bearertokenauth/scheme}}",
		"receivers::wsstats/file::http: {endpoint: "+ports[2]+", auth: {authenticator: bearertokenauth/file}}",
		"receivers::wsstats/file::metrics::flush_interval: 100ms",
		// The parameter is found where bearertokenauth looks for a header of its name in lower case.
		"receivers::wsstats/query::http: {endpoint: "+ports[3]+", auth: {authenticator: bearertokenauth/query, request_params: [token]}, include_metadata: true}",
		"extensions::bearertokenauth::token: ${env:TOKEN}",
		`extensions::basicauth::htpasswd::inline: "alice:${env:PASSWORD}"`,
		"extensions::bearertokenauth/scheme: {scheme: Agent, token: \"${env:TOKEN}\"}",
		"extensions::bearertokenauth/file::filename: "+file,
		`extensions::bearertokenauth/query: {header: token, scheme: "", token: "${env:TOKEN}"}`,
		"service::extensions: [health_check, zpages, basicauth, bearertokenauth, bearertokenauth/scheme, bearertokenauth/file, bearertokenauth/query]",
		"service::pipelines::traces::receivers: [wsstats, wsstats/basic, wsstats/scheme, wsstats/file, wsstats/query]",
		"service::pipelines::metrics::receivers: [wsstats, wsstats/basic, wsstats/scheme, wsstats/file, wsstats/query]")
	c.env = []string{"TOKEN=" + secret("token"), "PASSWORD=" + secret("password")}
	c.start(t)
	bearer, basic, scheme, file2, query := c.endpoint, ports[0], ports[1], ports[2], ports[3]

	authorization := func(value string) request { return request{header: http.Header{"Authorization": {value}}} }
	user := func(name, password string) request {
		return authorization("Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password)))
	}
	browser := func(token string) request {
		return request{protocol: "wsstats.bearer." + base64.RawURLEncoding.EncodeToString([]byte(token))}
	}
	parameter := func(name, value string) request { return request{query: "?" + name + "=" + value} }

	refused := 0
	ask := func(name, endpoint string, r request, want int) {
		t.Helper()
		r.endpoint = endpoint
		answers := map[string]answered{"upgrade": r.upgrade(t)}
		if r.protocol == "" {
			answers["POST"] = r.post(t)
		}
		for how, got := range answers {
			if want == http.StatusUnauthorized {
				refused++
				assert.Equal(t, answered{want, "the credentials are missing or wrong\n"}, got, "%s, %s", name, how)
			} else {
				assert.NotEqual(t, http.StatusUnauthorized, got.status, "%s, %s", name, how)
			}
		}
		if want == http.StatusOK {
			assert.Equal(t, http.StatusSwitchingProtocols, answers["upgrade"].status, name)
		}
	}
	const no, yes = http.StatusUnauthorized, http.StatusOK

	ask("no token", bearer, request{}, no)
	ask("a wrong token", bearer, authorization("Bearer "+secret("wrong token")), no)
	ask("half of the token", bearer, authorization("Bearer "+secret("token")[:13]), no)
	ask("a token without its scheme", bearer, authorization(secret("token")), no)
	ask("a password for a token", bearer, user("alice", secret("password")), no)
	ask("a browser's wrong token", bearer, browser(secret("wrong browser token")), no)
	ask("a browser's token that is no Base64", bearer, request{protocol: "wsstats.bearer." + secret("token") + "!"}, no)
	ask("a token in the query where none is read", bearer, parameter("token", secret("token")), no)
	ask("the token", bearer, authorization("Bearer "+secret("token")), yes)
	ask("a browser's token", bearer, browser(secret("token")), yes)

	ask("no password", basic, request{}, no)
	ask("a wrong password", basic, user("alice", secret("wrong password")), no)
	ask("another user", basic, user(secret("wrong user"), secret("password")), no)
	ask("no Base64", basic, authorization("Basic alice:"+secret("password")), no)
	ask("a token for a password", basic, authorization("Bearer "+secret("password")), no)
	ask("a browser's password", basic, browser(secret("password")), no)
	ask("the password", basic, user("alice", secret("password")), yes)

	ask("another scheme", scheme, authorization("Bearer "+secret("token")), no)
	ask("a browser's, of another scheme", scheme, browser(secret("token")), no)
	ask("the scheme", scheme, authorization("Agent "+secret("token")), yes)

	ask("no parameter", query, request{}, no)
	ask("a wrong parameter", query, parameter("token", secret("wrong parameter")), no)
	ask("a parameter of another name", query, parameter("t", secret("token")), no)
	ask("the parameter", query, parameter("token", secret("token")), yes)

	ask("a token that is not yet valid", file2, authorization("Bearer "+secret("new token")), no)
	ask("a token of a file", file2, authorization("Bearer "+secret("old token")), yes)
	early := talk(t, "ws://"+file2+"/v1/wsstats", http.Header{"Authorization": {"Bearer " + secret("old token")}})
	require.NoError(t, os.WriteFile(file, []byte(secret("new token")), 0o600))
	fresh := request{endpoint: file2, header: http.Header{"Authorization": {"Bearer " + secret("new token")}}}
	require.Eventually(t, func() bool {
		if fresh.post(t).status == yes {
			return true
		}
		refused++
		return false
	}, waitTimeout, waitTick, "the file is read again")
	ask("an expired token", file2, authorization("Bearer "+secret("old token")), no)
	ask("an expired token of a browser", file2, browser(secret("old token")), no)
	ask("the new token", file2, authorization("Bearer "+secret("new token")), yes)
	early.say(`{"seq":1,"events":[{"event":"send","ws.message.type":"text","room.id":"lobby"}]}`)
	assert.EqualValues(t, 1, early.next().Ack, "a session goes on: its token was asked for once")
	require.NoError(t, early.ws.Close())

	c.awaitSpans(t, 1)
	assert.Equal(t, refused, c.refusals(t, "credentials"))
	awaitPrometheus(t, c.prometheus, "ws_messages_sent")
	out := c.tell(t)
	out.assertHas(t, "lobby", "log", "traces.json", "backend")
	out.assertHas(t, "ws_messages_sent", "prometheus exporter")
	out.assertHas(t, "/v1/wsstats", "its own spans", "samples of tracez")
	out.assertHas(t, "http_server_request_duration", "its own metrics")
	out.assertHas(t, "bearertokenauth", "extensionz")
	out.assertWithout(t, secrets)
}

// refusals is how many requests were refused for a reason, by all receivers.
func (c *collector) refusals(t *testing.T, refusal string) (n int) {
	t.Helper()
	const name = "otelcol_receiver_wsstats_refused_requests"
	for _, m := range scrape(t, c.telemetry)[name].GetMetric() {
		if hasLabels(m, []string{"refusal", refusal}) {
			n += int(m.GetCounter().GetValue())
		}
	}
	return n
}

// request is a request to a receiver.
type request struct {
	endpoint string // host:port
	header   http.Header
	protocol string // beside the real one
	query    string // with its "?"
}

// answered is the answer to a request.
type answered struct {
	status int
	body   string
}

func (r *request) upgrade(t *testing.T) answered {
	t.Helper()
	dialer := websocket.Dialer{Subprotocols: []string{wire.SubprotocolJSON}}
	if r.protocol != "" {
		dialer.Subprotocols = append(dialer.Subprotocols, r.protocol)
	}
	ws, resp, err := dialer.Dial("ws://"+r.endpoint+"/v1/wsstats"+r.query, r.header)
	if err == nil {
		_ = ws.Close()
		return answered{resp.StatusCode, fmt.Sprint(resp.Header)}
	}
	require.ErrorIs(t, err, websocket.ErrBadHandshake)
	return readAnswer(t, resp)
}

func (r *request) post(t *testing.T) answered {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.endpoint+"/v1/wsstats"+r.query,
		strings.NewReader(`[]`))
	require.NoError(t, err)
	req.Close = true
	if r.header != nil {
		req.Header = r.header.Clone()
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	return readAnswer(t, resp)
}

func readAnswer(t *testing.T, resp *http.Response) answered {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return answered{resp.StatusCode, string(body)}
}
