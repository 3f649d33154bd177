package wsstatsreceiver

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configauth"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/extension/extensionauth"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/wsstats/wsstatsreceiver/wire"
)

var authID = component.MustNewID("tokens")

// authHost is a host with one authenticator, which knows one token. It takes it
// as Authorization or as the parameter "token".
type authHost struct {
	component.Host
	extension extensionauth.Server
}

func (h *authHost) GetExtensions() map[component.ID]component.Component {
	return map[component.ID]component.Component{authID: struct {
		component.StartFunc
		component.ShutdownFunc
		extensionauth.Server
	}{Server: h.extension}}
}

func hostWithAuth(t *testing.T, token string) *authHost {
	t.Helper()
	return &authHost{extension: extensionauth.ServerAuthenticateFunc(func(ctx context.Context, sources map[string][]string) (context.Context, error) {
		stated := http.Header(sources).Get("Authorization")
		if parameter := sources["token"]; len(parameter) > 0 {
			stated = "Bearer " + parameter[0]
		}
		if stated != "Bearer "+token {
			return ctx, errors.New("who is there?")
		}
		info := client.FromContext(ctx)
		info.Auth = authData{"subject": "alice"}
		return client.NewContext(ctx, info), nil
	})}
}

func authenticate(cfg *Config) {
	cfg.HTTP.Auth = configoptional.Some(confighttp.AuthConfig{Config: configauth.Config{AuthenticatorID: authID}, RequestParameters: []string{"token"}})
}

// authData is who authenticated.
type authData map[string]any

func (d authData) GetAttribute(name string) any { return d[name] }

func (d authData) GetAttributeNames() []string {
	names := make([]string, 0, len(d))
	for name := range d {
		names = append(names, name)
	}
	return names
}

// A browser sends its token as a subprotocol. It must reach the authenticator
// and nothing else: neither the answer nor the log.
func TestBearerSubprotocol(t *testing.T) {
	const canary = "s3cret-canary"
	encode := base64.RawURLEncoding.EncodeToString
	core, logs := observer.New(zap.DebugLevel)
	r := startReceiver(t, testOptions{host: hostWithAuth(t, canary), config: authenticate, logger: zap.New(core)})

	for name, offered := range map[string][]string{
		"before the real one": {bearerPrefix + encode([]byte(canary)), wire.SubprotocolJSON},
		"behind the real one": {wire.SubprotocolJSON, bearerPrefix + encode([]byte(canary))},
		"padded":              {wire.SubprotocolJSON, bearerPrefix + base64.URLEncoding.EncodeToString([]byte(canary))},
		"alone":               {bearerPrefix + encode([]byte(canary))},
	} {
		a := r.dial(nil, offered...)
		want := ""
		if len(offered) > 1 {
			want = wire.SubprotocolJSON
		}
		assert.Equal(t, want, a.conn.Subprotocol(), name)
		a.send(`x` + canary)
		require.NotNil(t, a.reply().Error)
	}
	for name, header := range map[string]http.Header{
		"none":              {},
		"wrong":             {protocolHeader: {bearerPrefix + encode([]byte("guess"))}},
		"not base64":        {protocolHeader: {bearerPrefix + canary + "!"}},
		"header goes first": {protocolHeader: {bearerPrefix + encode([]byte(canary))}, "Authorization": {"Bearer guess"}},
	} {
		got := r.refusedDial(header)
		assert.Equal(t, http.StatusUnauthorized, got.status, name)
		assert.Empty(t, got.header.Get(protocolHeader), name)
		assert.NotContains(t, got.body, canary, name)
	}
	assert.NotContains(t, toJSON(t, logs.All()), canary)
	assert.NotContains(t, toJSON(t, logs.All()), encode([]byte(canary)))
}

func TestTokenInTheQuery(t *testing.T) {
	r := startReceiver(t, testOptions{host: hostWithAuth(t, "canary"), config: authenticate})
	assert.Equal(t, http.StatusUpgradeRequired, r.request(http.MethodGet, r.cfg.Path+"?token=canary", nil, "").status)
	assert.Equal(t, http.StatusUnauthorized, r.request(http.MethodGet, r.cfg.Path+"?token=guess", nil, "").status)
	assert.Equal(t, http.StatusUnauthorized, r.request(http.MethodGet, r.cfg.Path, nil, "").status)
}

// Numbers of one who authenticated are not another's.
func TestSubject(t *testing.T) {
	for name, tt := range map[string]struct {
		auth client.AuthData
		want string
	}{
		"nobody":         {nil, ""},
		"subject":        {authData{"subject": "alice", "username": "al"}, "alice"},
		"username":       {authData{"username": "al"}, "al"},
		"empty subject":  {authData{"subject": "", "username": "al"}, "al"},
		"another type":   {authData{"subject": 7}, ""},
		"something else": {authData{"raw": "x"}, ""},
	} {
		ctx := client.NewContext(t.Context(), client.Info{Auth: tt.auth})
		assert.Equal(t, tt.want, subject(ctx), name)
	}
}
