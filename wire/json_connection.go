package wire

type connectionKey uint8

const (
	connectionUnknown connectionKey = iota
	connectionOpenedAt
	connectionOpen
	connectionTraceID
	connectionSpanID
)

func connectionField(key string) connectionKey {
	switch key {
	case "opened_at":
		return connectionOpenedAt
	case "open":
		return connectionOpen
	case "trace_id":
		return connectionTraceID
	case "span_id":
		return connectionSpanID
	}
	return connectionUnknown
}

func (d *Decoder) connection(index int) *MessageError {
	d.beginRow()
	b := &d.m.Batch
	b.Connections = grow(b.Connections)
	c := &b.Connections[len(b.Connections)-1]
	*c = Connection{Index: index}
	if err := d.connectionObject(c); err != nil {
		return err
	}
	if !d.endRow() {
		b.Connections = b.Connections[:len(b.Connections)-1]
	}
	return nil
}

func (d *Decoder) connectionObject(c *Connection) *MessageError {
	if d.typ != jsonObject {
		return d.unexpectedNext("", "an object")
	}
	if err := d.enter(); err != nil {
		return err
	}
	var it list
	var seen uint8
	var seenAttrs uint64
	base := len(d.names)
	for d.nextKey(&it) {
		key := it.key
		field := connectionField(key)
		if field == connectionUnknown {
			if err := d.attribute(&c.Attrs, &seenAttrs, base, key); err != nil {
				return err
			}
			continue
		}
		if seen&(1<<field) != 0 {
			return d.duplicate(key)
		}
		seen |= 1 << field
		if null, err := d.null(); err != nil {
			return err
		} else if null {
			continue
		}
		if err := d.connectionValue(c, field, key); err != nil {
			return err
		}
	}
	d.names = d.names[:base]
	if err := d.endList(); err != nil {
		return err
	}
	c.User = d.rowUsers()
	if !c.Has(AttrConnectionID) {
		return d.reject("ws.connection.id", "is required")
	}
	return nil
}

func (d *Decoder) connectionValue(c *Connection, field connectionKey, key string) (err *MessageError) {
	switch field {
	case connectionOpenedAt:
		c.OpenedAt, c.HasOpenedAt, err = d.instant(key)
	case connectionOpen:
		var open, ok bool
		open, ok, err = d.boolean(key)
		c.Closed = ok && !open
	case connectionTraceID:
		err = d.id(key, c.TraceID[:])
	case connectionSpanID:
		err = d.id(key, c.SpanID[:])
	}
	return err
}
