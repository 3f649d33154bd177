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
	var seen uint64
	_, err := fields(
		d, connectionField,
		func(base int, key string) *MessageError { return d.attribute(&c.Attrs, &seen, base, key) },
		func(field connectionKey, key string) *MessageError { return d.connectionValue(c, field, key) },
	)
	if err != nil {
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
