// Package conventions holds the tables of docs/conventions.md that whoever makes
// spans and metrics of events needs: the receiver, and agents that do it themselves.
package conventions
