package main

import (
	"net/http"
	_ "net/http/pprof"
	"os"
)

// The soak test builds this into its collector, to see goroutines and the heap:
// none of the collector's own metrics has them.
func init() {
	go func() { panic(http.ListenAndServe(os.Getenv("PPROF_ENDPOINT"), nil)) }()
}
