package wire

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Definitions are what a session of the binary form has defined in numbered
// messages. The zero value is that of a session that begins.
type Definitions struct {
	table   handleTable
	message uint64 // counts the session's messages
}

// definition is what a handle stands for.
type definition struct {
	text string

	// What is found out once and not for each event.
	message uint64
	slot    uint32 // of its ordinals, as a connection of that message
	id      idState

	defined bool
}

// idState tells whether a text is a connection id.
type idState uint8

const (
	idUnknown idState = iota
	idGood
	idBad
)

const (
	// A page takes a kilobyte: most agents of a fleet observe few connections.
	pageBits  = 5
	pageSize  = 1 << pageBits
	pageBytes = pageSize * 32
)

// handleTable maps handles to strings. Its memory comes in pages, so that it
// follows what is defined and not how large the handles are.
type handleTable struct {
	pages []*[pageSize]definition
	bytes int // of pages, and of texts that are its own
}

// get returns the definition of a handle, nil where it has none. Handle 0 never has one.
func (t *handleTable) get(handle uint64) *definition {
	page := handle >> pageBits
	if page >= uint64(len(t.pages)) || t.pages[page] == nil {
		return nil
	}
	if def := &t.pages[page][handle%pageSize]; def.defined {
		return def
	}
	return nil
}

// slot returns the place of a handle in its page, which it makes. False: it
// would take more than limit bytes.
func (t *handleTable) slot(handle uint64, limit int) (*definition, bool) {
	page := int(handle >> pageBits)
	if page >= len(t.pages) {
		pages := make([]*[pageSize]definition, max(page+1, 2*len(t.pages)))
		copy(pages, t.pages)
		t.pages = pages
	}
	if t.pages[page] == nil {
		if t.bytes+pageBytes > limit {
			return nil, false
		}
		t.bytes += pageBytes
		t.pages[page] = new([pageSize]definition)
	}
	return &t.pages[page][handle%pageSize], true
}

// undefine drops the definitions of those handles, which were for one message
// alone, and memory that an unusual message needed.
func (t *handleTable) undefine(handles []byte) {
	if t.bytes > 64*pageBytes {
		*t = handleTable{}
		return
	}
	for list := (packed{b: handles}); list.more(); {
		if def := t.get(list.next()); def != nil {
			*def = definition{}
		}
	}
}

// define takes over the definitions of a message: handles in one packed list,
// strings where they come among the fields.
func (d *Decoder) define(handles, message []byte) *MessageError {
	list, it := packed{b: handles}, fieldIter{rest: message, spec: messageFields}
	for it.next() {
		if it.num != messageStrings {
			continue
		}
		if !list.more() {
			return d.fail("string_handles", "there are fewer of them than strings")
		}
		handle := list.next()
		if list.i < 0 {
			return d.fail("string_handles", varintError(list.i))
		}
		if err := d.defineOne(handle, it.b); err != nil {
			return err
		}
	}
	if list.more() {
		return d.fail("string_handles", "there are more of them than strings")
	}
	return nil
}

func (d *Decoder) defineOne(handle uint64, text []byte) *MessageError {
	t := d.proto.table
	switch {
	case handle == 0:
		return d.fail("string_handles", "handles begin at 1")
	case handle > uint64(d.limits.Definitions):
		return d.tooLarge("string_handles", "a handle is over "+strconv.Itoa(d.limits.Definitions))
	case !utf8.Valid(text):
		return d.badUTF8("strings")
	}
	def, ok := t.slot(handle, d.limits.DefinitionBytes)
	if !ok {
		return d.tooManyDefinitions()
	}
	if t != &d.Definitions.table { // for this message alone, as long as its bytes live
		*def = definition{text: view(text), defined: true}
		return nil
	}
	if def.defined && def.text == string(text) {
		return nil // as it was, and what was found out about it
	}
	if t.bytes+len(text)-len(def.text) > d.limits.DefinitionBytes {
		return d.tooManyDefinitions()
	}
	t.bytes += len(text) - len(def.text)
	*def = definition{text: strings.Clone(view(text)), defined: true}
	return nil
}

func (d *Decoder) tooManyDefinitions() *MessageError {
	return d.tooLarge("strings", "the session's definitions take more than "+strconv.Itoa(d.limits.DefinitionBytes)+" bytes")
}

// undefined says that a handle is not defined.
func (d *Decoder) undefined(key string, handle uint64) *MessageError {
	err := d.fail(key, "the handle "+strconv.FormatUint(handle, 10)+" is not defined")
	err.Code = CodeUndefined
	return err
}

// badUTF8 says that a string is not UTF-8.
func (d *Decoder) badUTF8(key string) *MessageError {
	err := d.fail(key, ErrInvalidUTF8.Error())
	err.cause = ErrInvalidUTF8
	return err
}
