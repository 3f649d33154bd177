package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxFile bounds a .json file, which is read as a whole.
const maxFile = 256 << 20

// document is one message of a file.
type document struct {
	text   []byte
	line   int // where it begins, both from 1
	column int
	quoted bool // text is not what stands in the file: the raw string of a vector
	cut    bool // it is too long, and text is its beginning
}

// position is where in the file a byte of the document is.
func (d *document) position(offset int) (line, column int) {
	if d.quoted {
		return d.line, d.column
	}
	before := d.text[:min(offset, len(d.text))]
	if i := bytes.LastIndexByte(before, '\n'); i >= 0 {
		return d.line + bytes.Count(before, []byte("\n")), len(before) - i
	}
	return d.line, d.column + len(before)
}

// documents calls take with each message of the file, "-" for in.
func documents(name string, in io.Reader, maxBytes int, take func(document)) error {
	if name == "-" {
		return lines(in, maxBytes, take)
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if filepath.Ext(name) != ".json" {
		return lines(file, maxBytes, take)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return err
	}
	if len(data) > maxFile {
		return fmt.Errorf("%s: expected at most %d bytes in a .json file, which is read as a whole", name, maxFile)
	}
	limited := func(d document) {
		d.cut = len(d.text) > maxBytes
		take(d)
	}
	if !whole(data, limited) {
		return lines(bytes.NewReader(data), maxBytes, take)
	}
	return nil
}

// lines takes each line that is not empty for a message.
func lines(in io.Reader, maxBytes int, take func(document)) error {
	r := bufio.NewReader(in)
	for line := 1; ; line++ {
		d := document{line: line, column: 1}
		var err error
		for more := true; more; {
			var part []byte
			part, more, err = r.ReadLine()
			if room := maxBytes + 1 - len(d.text); len(part) > room {
				part = part[:room]
			}
			d.text = append(d.text, part...)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if d.cut = len(d.text) > maxBytes; d.cut || len(bytes.TrimSpace(d.text)) > 0 {
			take(d)
		}
	}
}

// whole takes a file of one JSON value for a message, an array of messages, or
// a vector; it tells whether the file is one value.
func whole(data []byte, take func(document)) bool {
	text := bytes.TrimSpace(data)
	if !json.Valid(text) {
		return false
	}
	file := document{text: data, line: 1, column: 1}
	list, vector := text, false
	start := bytes.IndexByte(data, text[0])
	if text[0] == '{' {
		var v struct {
			Description *string
			Messages    json.RawMessage
		}
		if json.Unmarshal(text, &v) != nil || v.Description == nil || len(v.Messages) == 0 || v.Messages[0] != '[' {
			line, column := file.position(start)
			take(document{text: text, line: line, column: column})
			return true
		}
		list, vector = v.Messages, true
		start += locate(text, "messages")
		start += bytes.IndexByte(data[start:], '[')
	}
	for m := range members(list) {
		line, column := file.position(start + m.start)
		d := document{text: m.value, line: line, column: column}
		if vector {
			var step struct {
				Raw       *string
				Reconnect bool
			}
			_ = json.Unmarshal(m.value, &step) // an array is neither
			switch {
			case step.Reconnect:
				continue
			case step.Raw != nil:
				d.text, d.quoted = []byte(*step.Raw), true
			}
		}
		take(d)
	}
	return true
}

// member is a member of an object, or an element of an array.
type member struct {
	key   string
	index int
	at    int // where the member begins: its key, or its value
	start int // where its value begins
	value []byte
}

// members yields what an object or an array holds, as far as it is JSON.
func members(text []byte) func(yield func(member) bool) {
	return func(yield func(member) bool) {
		d := json.NewDecoder(bytes.NewReader(text))
		open, err := d.Token()
		if err != nil || open != json.Delim('{') && open != json.Delim('[') {
			return
		}
		for i := 0; d.More(); i++ {
			m := member{index: i, at: skipTo(text, int(d.InputOffset()))}
			if open == json.Delim('{') {
				key, err := d.Token()
				if err != nil {
					return
				}
				m.key, _ = key.(string)
				m.index = -1
			}
			m.start = skipTo(text, int(d.InputOffset()))
			var value json.RawMessage
			if d.Decode(&value) != nil {
				return
			}
			if m.value = value; !yield(m) {
				return
			}
		}
	}
}

// skipTo is where the next token begins.
func skipTo(text []byte, i int) int {
	for i < len(text) && strings.IndexByte(" \t\r\n,:", text[i]) >= 0 {
		i++
	}
	return i
}

// locate finds the byte that a mistake speaks of: it begins with a place, such
// as events[3].ws.message.size. Where it does not, it is the syntax error, or 0.
func locate(text []byte, mistake string) int {
	at, base := 0, 0
	for value := text; ; {
		next, rest := find(value, mistake)
		if next == nil {
			break
		}
		at, base = base+next.at, base+next.start
		value, mistake = next.value, rest
	}
	var syntax *json.SyntaxError
	if at == 0 && errors.As(json.Unmarshal(text, new(any)), &syntax) {
		return max(0, int(syntax.Offset)-1)
	}
	return at
}

// find returns the member that a place begins with, and the rest of the place.
func find(value []byte, place string) (found *member, rest string) {
	for m := range members(value) {
		step := "[" + strconv.Itoa(m.index) + "]"
		if m.index < 0 {
			step = m.key
		}
		after, ok := strings.CutPrefix(place, step)
		if !ok || after != "" && !strings.ContainsRune(".[:", rune(after[0])) {
			continue
		}
		// Of "a" and "a.b" the longer one; of two alike the second, which is one too many.
		if found == nil || len(after) <= len(rest) {
			found, rest = &m, after
		}
	}
	return found, strings.TrimPrefix(rest, ".")
}
