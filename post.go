package wsstatsreceiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/wsstats/wsstatsreceiver/wire"
)

// postAnswer is the body of a 200.
type postAnswer struct {
	Accepted int           `json:"accepted"`
	Rejected wire.Rejected `json:"rejected"`
}

// post takes one JSON message of a sender that keeps no connection.
func (e *endpoint) post(w http.ResponseWriter, req *http.Request) {
	r := e.r
	media, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if err != nil || media != "application/json" && media != "text/plain" {
		e.refuse(w, req, http.StatusUnsupportedMediaType, refusedMediaType, "send application/json or text/plain")
		return
	}
	limit := int(r.cfg.Limits.MessageBytes)
	// The server's own limit of time holds for the head of a request.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(r.cfg.Limits.MessageTimeout))
	var in inbound
	defer func() {
		r.budget.Release(in.paid)
		buffers.put(in.buffer)
	}()
	err = in.read(req.Body, limit, 0, func(_ []byte, n int64) bool { return r.budget.Acquire(n) })
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, errTooLarge), errors.As(err, &tooLarge):
		w.Header().Set("Connection", "close") // what is left of the body is not read
		e.refuse(w, req, http.StatusRequestEntityTooLarge, refusedTooLarge, fmt.Sprintf("the message is over the limit of %d bytes", limit))
		return
	case err != nil:
		e.refuse(w, req, http.StatusBadRequest, refusedMalformed, "the body cannot be read")
		return
	}
	r.noteReceived(req.Context(), in.size, viaPost)
	if cost := max(int64(in.size), minCost); !in.over && in.paid == 0 && r.budget.Acquire(cost) {
		in.paid = cost
	}
	if in.over || in.paid == 0 {
		e.refuseOverBudget(w, req)
		return
	}
	data := *in.buffer

	size := jsonForm.translationBytes(data)
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)() // a shutdown does not end requests
	if err := r.inHand.wait(ctx, size); err != nil {
		if r.ctx.Err() != nil { // else the sender is gone, and nobody hears an answer
			e.refuseForNow(w, req, refusedShutdown, shuttingDown)
		}
		return
	}
	message := &incoming{size: len(data), reserved: size}
	defer func() { r.inHand.end(message.reserved) }()
	m := messagePool.Get().(*wire.Message)
	defer putMessage(m)
	began := time.Now()
	decoder := r.decoders.Get().(*wire.Decoder)
	defer r.decoders.Put(decoder)
	err = jsonForm.decode(decoder, data, m)
	if err == nil && m.Form == wire.FormHello {
		err = errors.New("hello opens a session: send it over a WebSocket")
	}
	if err != nil {
		r.noteDropped(req.Context(), 1, droppedMalformed)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a := r.newAgent("")
	a.session = false
	message.Message, message.arrival = m, r.now()
	out := r.take(req.Context(), a, message)
	r.noteProcessed(req.Context(), began, out)
	_, why := out.refusal()
	switch {
	case errors.Is(out.err, errOverMemory):
		e.refuse(w, req, http.StatusRequestEntityTooLarge, refusedTooLarge, why)
	case errors.Is(out.err, errOverBudget):
		e.refuseOverBudget(w, req)
	case out.err != nil && out.permanent:
		r.noteDropped(req.Context(), len(m.Batch.Events), droppedRefused)
		http.Error(w, why, http.StatusBadRequest)
	case out.err != nil:
		w.Header().Set("Retry-After", strconv.Itoa(retryAfterSeconds))
		http.Error(w, why, http.StatusServiceUnavailable)
	default:
		r.noteDropped(req.Context(), out.rejected.Count, droppedRejected)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(postAnswer{Accepted: rowCount(&m.Batch) - (out.rejected.Count - m.Batch.Rejected.Count), Rejected: out.rejected})
	}
}

func (e *endpoint) refuseOverBudget(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Retry-After", strconv.Itoa(retryAfterSeconds))
	e.refuse(w, req, http.StatusTooManyRequests, refusedBudget, overBudget)
}

// rowCount is how many rows of a message were understood.
func rowCount(b *wire.Batch) int { return len(b.Events) + len(b.Connections) + len(b.Stats) }
