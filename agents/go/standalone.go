package wsstats

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
)

// standalone are the agents that [Handler] made, for [Shutdown].
var standalone struct {
	sync.Mutex
	agents []*Agent
}

// Handler is [Agent.Handler] of an agent that it makes of opts and the environment:
// one line for a program that has one server and no clients to observe. Any other
// makes an agent with [NewAgent] and shares it.
//
// It never gets in the way of next: if an option is wrong, it logs that once, at
// Error to [slog.Default], and returns next as it is.
func Handler(next http.Handler, opts ...Option) http.Handler {
	agent, err := NewAgent(opts...)
	if err != nil {
		slog.Default().Error("wsstats does not observe this handler", slog.Any("error", err))
		return next
	}
	standalone.Lock()
	defer standalone.Unlock()
	standalone.agents = append(standalone.agents, agent)
	return agent.Handler(next)
}

// Shutdown is [Agent.Shutdown] of the agents of all calls of [Handler] so far, at
// once. A program calls it last: what is held by then, a second's events as a rule,
// is lost otherwise.
func Shutdown(ctx context.Context) error {
	standalone.Lock()
	agents := standalone.agents
	standalone.agents = nil
	standalone.Unlock()

	errs := make([]error, len(agents))
	var all sync.WaitGroup
	for i, agent := range agents {
		all.Go(func() { errs[i] = agent.Shutdown(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}
