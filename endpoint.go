package wsstatsreceiver

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/gorilla/websocket"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"

	"github.com/wsstats/wsstatsreceiver/wire"
)

const (
	protocolHeader = "Sec-WebSocket-Protocol"
	// bearerPrefix begins the subprotocol in which a browser sends its token.
	bearerPrefix = "wsstats.bearer."
	// retryAfterSeconds is what a refused agent waits for, at least.
	retryAfterSeconds = 5

	shuttingDown = "the receiver is shutting down"
)

// Refusals, as self-observation names them.
const (
	refusedOrigin      = "origin"
	refusedSubprotocol = "subprotocol"
	refusedUpgrade     = "upgrade_required"
	refusedMethod      = "method"
	refusedMediaType   = "media_type"
	refusedTooLarge    = "too_large"
	refusedMalformed   = "malformed"
	refusedSessions    = "sessions"
	refusedPerAddress  = "sessions_per_address"
	refusedShutdown    = "shutdown"
	refusedBudget      = "budget"
	refusedCredentials = "credentials"
)

// endpoint serves agents: it upgrades their requests to sessions and takes POSTs.
type endpoint struct {
	r        *wsstatsReceiver
	upgrader websocket.Upgrader
	origins  []string // allowed ones, lower case, "*" is a wildcard
}

func (r *wsstatsReceiver) newServer(ctx context.Context, host component.Host) (*http.Server, error) {
	e := &endpoint{r: r, upgrader: websocket.Upgrader{
		// Small buffers: an idle agent costs little, and messages are read into pooled memory.
		ReadBufferSize:    256,
		WriteBufferSize:   256,
		WriteBufferPool:   &sync.Pool{},
		EnableCompression: r.cfg.Compression,
		CheckOrigin:       func(*http.Request) bool { return true }, // checked before, with an answer of our own
		Error: func(w http.ResponseWriter, req *http.Request, status int, reason error) {
			e := &endpoint{r: r}
			e.refuse(w, req, status, refusedUpgrade, reason.Error())
		},
	}}
	if r.cfg.HTTP.CORS.HasValue() {
		for _, o := range r.cfg.HTTP.CORS.Get().AllowedOrigins {
			e.origins = append(e.origins, strings.ToLower(o))
		}
	}
	server, err := r.cfg.HTTP.ToServer(ctx, host.GetExtensions(), r.settings.TelemetrySettings, e,
		confighttp.WithErrorHandler(e.refusedBefore))
	if err != nil {
		return nil, fmt.Errorf("build the http server: %w", err)
	}
	// Authentication is a part of the server's handler and comes before ours.
	server.Handler = moveBearerToken(server.Handler)
	if t := r.cfg.Limits.HandshakeTimeout; server.ReadHeaderTimeout <= 0 || server.ReadHeaderTimeout > t {
		server.ReadHeaderTimeout = t
	}
	return server, nil
}

// moveBearerToken takes the token that a browser sends as a subprotocol out of
// the list, so that it is neither echoed nor logged, and makes it the
// Authorization of the request, where that is not stated otherwise.
func moveBearerToken(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		offered := websocket.Subprotocols(req)
		kept := slices.DeleteFunc(slices.Clone(offered), func(p string) bool { return strings.HasPrefix(p, bearerPrefix) })
		if len(kept) == len(offered) {
			next.ServeHTTP(w, req)
			return
		}
		if req.Header.Get("Authorization") == "" {
			for _, p := range offered {
				encoded, ok := strings.CutPrefix(p, bearerPrefix)
				if token, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(encoded, "=")); ok && err == nil {
					req.Header.Set("Authorization", "Bearer "+string(token))
					break
				}
			}
		}
		if len(kept) > 0 {
			req.Header.Set(protocolHeader, strings.Join(kept, ", "))
		} else {
			req.Header.Del(protocolHeader)
		}
		next.ServeHTTP(w, req)
	})
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	switch {
	case req.URL.Path != e.r.cfg.Path:
		http.Error(w, "agents connect to "+e.r.cfg.Path, http.StatusNotFound)
	case e.r.sessions.draining():
		e.refuseForNow(w, req, refusedShutdown, shuttingDown)
	case !e.originAllowed(req):
		e.refuse(w, req, http.StatusForbidden, refusedOrigin, "the Origin is not allowed: list it in http::cors::allowed_origins")
	case req.Method == http.MethodPost:
		e.post(w, req)
	case req.Method != http.MethodGet:
		w.Header().Set("Allow", "GET, POST")
		e.refuse(w, req, http.StatusMethodNotAllowed, refusedMethod, "connect a WebSocket with GET or send one JSON message with POST")
	case !websocket.IsWebSocketUpgrade(req):
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		e.refuse(w, req, http.StatusUpgradeRequired, refusedUpgrade,
			"connect with any WebSocket client to ws://"+req.Host+e.r.cfg.Path+" (subprotocol "+wire.SubprotocolJSON+") and send JSON events")
	default:
		e.upgrade(w, req)
	}
}

func (e *endpoint) upgrade(w http.ResponseWriter, req *http.Request) {
	offered := websocket.Subprotocols(req)
	header := http.Header{}
	if len(offered) > 0 {
		i := slices.IndexFunc(offered, func(p string) bool { return formOf(p) != nil })
		if i < 0 {
			e.refuse(w, req, http.StatusBadRequest, refusedSubprotocol, "supported subprotocols: "+wire.SubprotocolJSON+", "+wire.SubprotocolProto)
			return
		}
		header.Set(protocolHeader, offered[i])
	}
	address := remoteHost(req)
	if refusal := e.r.sessions.reserve(address, e.r.cfg.Limits); refusal != "" {
		text := "too many sessions"
		if refusal == refusedShutdown {
			text = shuttingDown
		}
		e.refuseForNow(w, req, refusal, text)
		return
	}
	conn, err := e.upgrader.Upgrade(guarded{w, e.r.cfg.Limits, e.r.cfg.Compression}, req, header)
	if err != nil { // answered by the upgrader
		e.r.sessions.release(address)
		return
	}
	newSession(e.r, conn, req, address).start()
}

// originAllowed checks what CORS does not: an upgrade is not stopped by it. A
// request without an Origin does not come from a browser.
func (e *endpoint) originAllowed(req *http.Request) bool {
	origin := strings.ToLower(req.Header.Get("Origin"))
	if origin == "" {
		return true
	}
	if u, err := url.Parse(origin); err == nil && u.Host != "" && strings.EqualFold(u.Host, req.Host) {
		return true
	}
	return slices.ContainsFunc(e.origins, func(allowed string) bool {
		before, after, wildcard := strings.Cut(allowed, "*")
		if !wildcard {
			return origin == allowed
		}
		return len(origin) >= len(before)+len(after) && strings.HasPrefix(origin, before) && strings.HasSuffix(origin, after)
	})
}

func (e *endpoint) refuse(w http.ResponseWriter, req *http.Request, status int, refusal, text string) {
	e.r.telemetry.ReceiverWsstatsRefusedRequests.Add(req.Context(), 1, option("refusal", refusal))
	http.Error(w, text, status)
}

// refusedBefore answers for what the server does before our handler: it
// authenticates and opens compressed bodies. Why credentials are wrong is not
// told, since an authenticator's words may hold them.
func (e *endpoint) refusedBefore(w http.ResponseWriter, req *http.Request, text string, status int) {
	if status == http.StatusUnauthorized {
		e.refuse(w, req, status, refusedCredentials, "the credentials are missing or wrong")
		return
	}
	e.refuse(w, req, status, refusedMalformed, text)
}

func (e *endpoint) refuseForNow(w http.ResponseWriter, req *http.Request, refusal, text string) {
	w.Header().Set("Retry-After", strconv.Itoa(retryAfterSeconds))
	e.refuse(w, req, http.StatusServiceUnavailable, refusal, text)
}

func remoteHost(req *http.Request) string {
	host, _, err := net.SplitHostPort(req.RemoteAddr)
	if err != nil {
		return req.RemoteAddr
	}
	return host
}
