package wire

// eventColumns puts the values of the columns into the rows.
func (d *Decoder) eventColumns() *MessageError {
	it, index, base := fieldIter{rest: d.proto.events.lists}, 0, len(d.names)
	var c column
	for {
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
			d.proto.events.filled++
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

// cells reads the numbers of a column, and the rows that they belong to, up to the
// first mistake: see endCells.
func (c *column) cells(x *protoEvents) (rows []int, nums []uint64) {
	rows = x.listed(&c.rows)
	nums = c.b.read(x.nums[:len(rows)])
	c.short = len(nums) < len(rows)
	return rows[:len(nums)], nums
}

// listed are the rows of a sparse column, up to the first mistake.
func (x *protoEvents) listed(rows *rowIter) []int {
	if rows.all {
		return x.all
	}
	x.at = x.at[:0]
	for rows.next() {
		x.at = append(x.at, rows.row)
	}
	return x.at
}

// endCells tells what is wrong with a list that came to its end before its rows.
func (d *Decoder) endCells(c *column) *MessageError {
	if c.short {
		if c.b.i < 0 {
			return d.fail(columnFields[c.list].name, varintError(c.b.i))
		}
		return d.fail("", whyFewValues)
	}
	return nil
}

// intColumn is knownColumn for the integers that most attributes of messages are.
func (d *Decoder) intColumn(c *column) *MessageError {
	x, field, least := &d.proto.events, c.attr-firstNumber, int64(max(attrInfos[c.attr].Min, -1<<63))
	rows, nums := c.cells(x)
	for k, n := range nums {
		i := rows[k]
		e, v := &x.rows[i], zigzag(n)
		if c.has(e) {
			return d.duplicateInEvent(i, c.key)
		}
		if v < least {
			d.rejectKnown(c, i, IntValue(v))
		}
		e.nums[field] = uint64(v)
	}
	return d.endCells(c)
}

// ordinalColumn is intColumn for ws.message.seq, whose integers are distances.
func (d *Decoder) ordinalColumn(c *column) *MessageError {
	x := &d.proto.events
	rows, nums := c.cells(x)
	for k, n := range nums {
		i := rows[k]
		e, last := &x.rows[i], &x.ordinals[x.places[i]]
		v, ok := addInt(*last, zigzag(n))
		if *last = v; !ok {
			return d.fail("ints", whyOverflow)
		}
		if c.has(e) {
			return d.duplicateInEvent(i, c.key)
		}
		if v < 1 {
			d.rejectKnown(c, i, IntValue(v))
		}
		e.nums[AttrMessageSeq-firstNumber] = uint64(v)
	}
	return d.endCells(c)
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
		begin, next := x.userPlace(i)
		if next == noSpace {
			continue
		}
		if again && hasKey(space[begin:next], c.key) {
			return d.duplicateInEvent(i, c.key)
		}
		space[next] = KeyValue{c.key, v}
	}
	return nil
}

// userPlace is where the attributes of the user of a row begin, and where the next
// one goes, which may be noSpace.
func (x *protoEvents) userPlace(i int) (begin, next int) {
	if !x.uneven {
		return i * x.stride, i*x.stride + x.filled
	}
	if next = int(x.users[i]); next != noSpace {
		x.users[i]++
	}
	return int(x.begin[i]), next
}

// userHandles is userColumn for what most are: strings by their handles, that go
// straight to their place. The rows are not looked at: they are far apart.
func (d *Decoder) userHandles(c *column) *MessageError {
	// The table is copied, as nothing written to the rows can change a copy: it is not
	// read again for each of them.
	x, table, key, most := &d.proto.events, *d.proto.table, c.key, d.limits.ValueBytes
	space := d.m.users[len(d.m.users)-x.space:]
	rows, handles := c.cells(x)
	for k, handle := range handles {
		i, def := rows[k], table.get(handle)
		if def == nil {
			return d.undefined("handles", handle)
		}
		_, next := x.userPlace(i)
		if next == noSpace {
			continue
		}
		s := def.text
		if len(s) > most {
			s = d.cutEvent(i, s)
		}
		kv := &space[next]
		kv.Key, kv.Value.Type, kv.Value.num, kv.Value.Str, kv.Value.Array = key, TypeString, 0, s, nil
	}
	return d.endCells(c)
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
