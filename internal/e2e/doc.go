// Package e2e holds the tests that look at the built collector from outside: it
// is started as a child process, fed over the network, and judged by what its
// exporters wrote.
package e2e
