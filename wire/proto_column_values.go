package wire

// eventColumns puts the values of the columns into the rows.
func (d *Decoder) eventColumns() *MessageError {
	it, index, base := fieldIter{rest: d.proto.events.lists}, 0, len(d.names)
	for {
		var c column
		more, err := d.nextColumn(&it, &c, &index)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		switch {
		case c.attr == AttrMessageSeq && c.list == columnInts:
			err = d.ordinalColumn(&c)
		case c.attr != NumAttrs && c.list == columnInts && attrInfos[c.attr].Type == TypeInt:
			err = d.intColumn(&c)
		case c.attr != NumAttrs:
			err = d.knownColumn(&c)
		default:
			err = d.userColumn(&c, d.keyAgain(base, c.key))
		}
		switch {
		case err != nil:
			return err
		case c.rows.why != "":
			return d.fail("rows", c.rows.why)
		case c.left || !c.inFields() && c.b.more():
			return d.fail("", whyManyValues)
		}
		d.pop()
	}
	d.names = d.names[:base]
	return nil
}

// keyAgain tells whether an earlier column may have the same key, so that each
// row has to be looked at. The first Limits.Attributes keys are remembered.
func (d *Decoder) keyAgain(base int, key string) bool {
	for _, other := range d.names[base:] {
		if other == key {
			return true
		}
	}
	if len(d.names)-base >= d.limits.Attributes {
		return true
	}
	d.names = append(d.names, key)
	return false
}

// has tells whether the row has the column's attribute already, and sets it. Of a
// column of all rows it was found out before: see eventColumnIndex.
func (c *column) has(e *Event) bool {
	if c.rows.all {
		return false
	}
	bit := uint64(1) << c.attr
	before := e.set & bit
	e.set |= bit
	return before != 0
}

// intColumn is knownColumn for the integers that most attributes of messages are.
func (d *Decoder) intColumn(c *column) *MessageError {
	x, least := &d.proto.events, int64(max(attrInfos[c.attr].Min, -1<<63))
	for c.rows.next() {
		i := c.rows.row
		e := &x.rows[i]
		if !c.b.more() {
			return d.fail("", whyFewValues)
		}
		v := zigzag(c.b.next())
		switch {
		case c.b.i < 0:
			return d.fail("ints", varintError(c.b.i))
		case c.has(e):
			return d.duplicateInEvent(i, c.key)
		case v < least:
			d.rejectKnown(c, i, IntValue(v))
		}
		e.nums[c.attr-firstNumber] = uint64(v)
	}
	return nil
}

// ordinalColumn is intColumn for ws.message.seq, whose integers are distances.
func (d *Decoder) ordinalColumn(c *column) *MessageError {
	x := &d.proto.events
	for c.rows.next() {
		i := c.rows.row
		e, last := &x.rows[i], &x.ordinals[x.places[i]]
		if !c.b.more() {
			return d.fail("", whyFewValues)
		}
		v, ok := addInt(*last, zigzag(c.b.next()))
		*last = v
		switch {
		case !ok || c.b.i < 0:
			return d.fail("ints", listError(&c.b))
		case c.has(e):
			return d.duplicateInEvent(i, c.key)
		case v < 1:
			d.rejectKnown(c, i, IntValue(v))
		}
		e.nums[AttrMessageSeq-firstNumber] = uint64(v)
	}
	return nil
}

// knownColumn sets an attribute of the conventions.
func (d *Decoder) knownColumn(c *column) *MessageError {
	x := &d.proto.events
	for c.rows.next() {
		i, cuts := c.rows.row, d.m.Batch.ValuesCut
		v, why, err := d.columnValue(c)
		if err != nil {
			return err
		}
		e := &x.rows[i]
		if c.has(e) {
			return d.duplicateInEvent(i, c.key)
		}
		if why != "" {
			if d.rejectEvent(i) {
				d.firstRejection(i, c.key, why)
			}
		} else if d.setKnown(&e.Attrs, c.attr, v) != "" {
			d.rejectKnown(c, i, v)
		}
		d.noteCuts(i, cuts)
	}
	return nil
}

// rejectKnown rejects a row for a value that its attribute cannot have.
func (d *Decoder) rejectKnown(c *column, i int, v Value) {
	if d.rejectEvent(i) {
		var as Attrs
		d.firstRejection(i, c.key, unexpectedText(d.setKnown(&as, c.attr, v), v))
	}
}

// userColumn adds an attribute of the user. again: an event may have it already.
func (d *Decoder) userColumn(c *column, again bool) *MessageError {
	if c.list == columnHandles && c.why == "" && !again {
		return d.userHandles(c)
	}
	x := &d.proto.events
	space := d.m.users[len(d.m.users)-x.space:]
	for c.rows.next() {
		i, cuts := c.rows.row, d.m.Batch.ValuesCut
		v, why, err := d.columnValue(c)
		if err != nil {
			return err
		}
		v.Str = d.cut(v.Str)
		d.noteCuts(i, cuts)
		if c.why != "" {
			why = c.why
		}
		if why != "" && d.rejectEvent(i) {
			d.firstRejection(i, c.key, why)
		}
		next := x.users[i]
		if next == noSpace {
			continue
		}
		if again && hasKey(space[x.begin[i]:next], c.key) {
			return d.duplicateInEvent(i, c.key)
		}
		x.users[i] = next + 1
		space[next] = KeyValue{c.key, v}
	}
	return nil
}

// userHandles is userColumn for what most are: strings by their handles, that go
// straight to their place. The rows are not looked at: they are far apart.
func (d *Decoder) userHandles(c *column) *MessageError {
	x := &d.proto.events
	space := d.m.users[len(d.m.users)-x.space:]
	for c.rows.next() {
		i := c.rows.row
		s, err := d.handleText(c)
		if err != nil {
			return err
		}
		next := x.users[i]
		if next == noSpace {
			continue
		}
		x.users[i] = next + 1
		if len(s) > d.limits.ValueBytes {
			s = d.cutEvent(i, s)
		}
		kv := &space[next]
		kv.Key, kv.Value.Type, kv.Value.num, kv.Value.Str, kv.Value.Array = c.key, TypeString, 0, s, nil
	}
	return nil
}

// duplicateInEvent says that an event has an attribute twice.
func (d *Decoder) duplicateInEvent(i int, key string) *MessageError {
	d.path = d.path[:0]
	d.push(d.proto.events.key, i)
	return d.duplicate(key)
}

// handleText reads a string by its handle.
func (d *Decoder) handleText(c *column) (string, *MessageError) {
	if !c.b.more() {
		return "", d.fail("", whyFewValues)
	}
	handle := c.b.next()
	if c.b.i < 0 {
		return "", d.fail("handles", varintError(c.b.i))
	}
	def := d.proto.table.get(handle)
	if def == nil {
		return "", d.undefined("handles", handle)
	}
	return def.text, nil
}

// columnValue reads the next value of any list, a string as long as it is; why
// says what is wrong with it alone.
func (d *Decoder) columnValue(c *column) (v Value, why string, err *MessageError) {
	switch c.list {
	case columnHandles:
		s, err := d.handleText(c)
		return StringValue(s), "", err
	case columnTexts, columnArrays:
		if !c.left {
			return Value{}, "", d.fail("", whyFewValues)
		}
		if c.list == columnArrays {
			v, why, err = d.protoArray(c.all.b)
		} else {
			var s string
			s, err = d.text8(&c.all)
			v = StringValue(s)
		}
		c.left = c.all.nextOf(c.list)
		return v, why, err
	case columnDoubles:
		rest := c.b.b[c.b.i:]
		if len(rest) < 8 {
			return Value{}, "", d.fail("", whyFewValues)
		}
		c.b.i += 8
		f := doubleAt(rest)
		return DoubleValue(f), whyNotFinite(f), nil
	}
	if !c.b.more() {
		return Value{}, "", d.fail("", whyFewValues)
	}
	n := c.b.next()
	switch {
	case c.b.i < 0:
		return Value{}, "", d.fail(columnFields[c.list].name, varintError(c.b.i))
	case c.list == columnBools:
		return BoolValue(n != 0), "", nil
	}
	return IntValue(zigzag(n)), "", nil
}
