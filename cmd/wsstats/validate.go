package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/wsstats/wsstatsreceiver/wire"
)

const validateAbout = `Checks messages of agents against version 1 of the protocol and prints each
mistake with its place. The exit status is 1 where there is one.

FILE (- for the standard input) has one JSON message a line. A file whose name
ends in .json may be one message over many lines, an array of messages, or a
test vector, whose "messages" are taken. Of an event, connection or stat only
the first mistake is told. What holds between messages (one hello, numbers that
go up by one) is not looked at. Limits are the receiver's defaults.
`

// validateOptions are the flags of validate.
type validateOptions struct {
	messageBytes int
	limits       wire.Limits
}

// validateBytes is the receiver's default limit of a message.
const validateBytes = 4 << 20

func validateFlags(o *validateOptions) *flag.FlagSet {
	flags := newFlags("validate")
	flags.IntVar(&o.messageBytes, "message-bytes", validateBytes, "`bytes` of a message")
	flags.IntVar(&o.limits.Events, "events", 8192, "`number` of events of a message, and of stats")
	flags.IntVar(&o.limits.Connections, "connections", 8192, "`number` of connections that a message declares")
	flags.IntVar(&o.limits.Attributes, "attributes", 64, "`number` of your own attributes of an event")
	flags.IntVar(&o.limits.KeyBytes, "key-bytes", 256, "`bytes` of a key")
	flags.IntVar(&o.limits.ValueBytes, "value-bytes", 4096, "`bytes` of a value; what is longer is cut")
	flags.IntVar(&o.limits.Depth, "depth", 16, "`levels` of nesting")
	return flags
}

func runValidate(_ context.Context, args []string, std streams) error {
	o := &validateOptions{}
	flags := validateFlags(o)
	if err := parseFlags(flags, args, 1, func() { printHelp(flags, "FILE|-", validateAbout, std.out) }); err != nil {
		return err
	}
	var bad error
	flags.VisitAll(func(f *flag.Flag) {
		if n, ok := f.Value.(flag.Getter).Get().(int); ok && n < 1 {
			bad = usage("validate: --%s: expected at least 1, got %d", f.Name, n)
		}
	})
	if bad != nil {
		return bad
	}
	v := &validator{options: o, name: flags.Arg(0), out: std.out, decoder: wire.Decoder{Limits: o.limits}}
	if err := documents(v.name, std.in, o.messageBytes, v.check); err != nil {
		return fmt.Errorf("validate: %w", err)
	}
	return v.end()
}

// validator checks the messages of a file.
type validator struct {
	options *validateOptions
	name    string
	out     io.Writer
	decoder wire.Decoder
	message wire.Message

	messages, events, connections, stats int
	mistakes                             int
}

// check prints what is wrong with one message.
func (v *validator) check(d document) {
	v.messages++
	if d.cut {
		v.complain(d, fmt.Sprintf("expected at most %d bytes (--message-bytes)", v.options.messageBytes))
		return
	}
	v.decode(d)
}

func (v *validator) decode(d document) {
	if err := v.decoder.DecodeJSON(d.text, &v.message); err != nil {
		v.complain(d, err.Error())
		return
	}
	b := &v.message.Batch
	v.events += len(b.Events)
	v.connections += len(b.Connections)
	v.stats += len(b.Stats)
	if b.ValuesCut > 0 {
		v.note(d, "values cut to %d bytes: %d", v.options.limits.ValueBytes, b.ValuesCut)
	}
	if b.TraceparentsIgnored > 0 {
		v.note(d, "traceparents ignored, as W3C Trace Context calls them invalid: %d", b.TraceparentsIgnored)
	}
	if r := b.Rejected; r.Count == 1 {
		v.complain(d, r.First)
	} else if r.Count > 1 {
		v.rows(d, r.Count, r.First)
	}
}

// rows complains about each row that was rejected. The decoder tells the place
// of the first one, so that each row is given to it alone.
func (v *validator) rows(d document, count int, first string) {
	before := v.mistakes
	if d.text = bytes.TrimSpace(d.text); d.text[0] == '[' {
		v.each(d, d.text, "", "[%s]")
	} else {
		var batch map[string]json.RawMessage
		_ = json.Unmarshal(d.text, &batch) // the decoder has read it
		for _, key := range []string{"connections", "events", "stats"} {
			v.each(d, batch[key], key, `{"`+key+`":[%s]}`)
		}
	}
	if v.mistakes-before != count {
		v.mistakes = before
		v.complain(d, fmt.Sprintf("%s, and %d more", first, count-1))
		v.mistakes = before + count
	}
}

func (v *validator) each(d document, array json.RawMessage, key, form string) {
	var rows []json.RawMessage
	_ = json.Unmarshal(array, &rows) // null is no rows
	for i, row := range rows {
		err := v.decoder.DecodeJSON(fmt.Appendf(nil, form, row), &v.message)
		if r := v.message.Batch.Rejected; err == nil && r.Count == 1 {
			v.complain(d, fmt.Sprintf("%s[%d]%s", key, i, strings.TrimPrefix(r.First, key+"[0]")))
		}
	}
}

func (v *validator) complain(d document, text string) {
	v.mistakes++
	line, column := d.position(locate(d.text, text))
	fmt.Fprintf(v.out, "%s:%d:%d: %s\n", v.name, line, column, text)
}

func (v *validator) note(d document, format string, args ...any) {
	fmt.Fprintf(v.out, "%s:%d: note: %s\n", v.name, d.line, fmt.Sprintf(format, args...))
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func (v *validator) end() error {
	fmt.Fprintf(v.out, "%s in %s; taken: %s, %s, %s\n", plural(v.mistakes, "mistake"), plural(v.messages, "message"),
		plural(v.events, "event"), plural(v.connections, "connection"), plural(v.stats, "stat"))
	switch {
	case v.mistakes > 0:
		return errFailed
	case v.messages == 0:
		return errors.New("validate: no message found")
	}
	return nil
}
