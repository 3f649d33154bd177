package wire

// maxSeq is the largest number of a message: what every language holds exactly.
const maxSeq = 1 << 53

type batchKey uint8

const (
	batchUnknown batchKey = iota
	batchSeq
	batchResource
	batchConnections
	batchEvents
	batchStats
	batchDropped
	batchThreshold
	batchAggregates
	batchEvent
	batchHello
)

func batchField(key string) batchKey {
	switch key {
	case "seq":
		return batchSeq
	case "resource":
		return batchResource
	case "connections":
		return batchConnections
	case "events":
		return batchEvents
	case "stats":
		return batchStats
	case "dropped":
		return batchDropped
	case "threshold":
		return batchThreshold
	case "aggregates":
		return batchAggregates
	case "event":
		return batchEvent
	case "hello":
		return batchHello
	}
	return batchUnknown
}

func (d *Decoder) batch() *MessageError {
	d.m.Form = FormBatch
	stated, err := fields(d, batchField, d.unknown, d.batchValue)
	if err != nil {
		return err
	}
	if err := d.end(); err != nil {
		return err
	}
	if stated == 0 {
		return d.fail("", `expected "event", "hello" or a batch: "seq", "connections", "events", "stats", "dropped"`)
	}
	return nil
}

func (d *Decoder) batchValue(field batchKey, key string) (err *MessageError) {
	b := &d.m.Batch
	switch field {
	case batchSeq:
		return d.seq()
	case batchResource:
		b.HasResource = true
		b.Resource, err = d.keyValues("resource", &d.m.users)
		return err
	case batchConnections:
		return d.rows("connections", d.limits.Connections, (*Decoder).connection)
	case batchEvents:
		return d.events("events")
	case batchStats:
		return d.rows("stats", d.limits.Events, (*Decoder).stat)
	case batchDropped:
		return d.dropped()
	case batchThreshold:
		return d.threshold()
	case batchAggregates:
		b.Aggregates, _, err = d.boolean(key)
		return err
	default: // an event or a hello: see topObject
		return d.fail(key, "not a batch")
	}
}

func (d *Decoder) seq() *MessageError {
	const want = "an integer from 1 to 2^53"
	if d.typ != jsonNumber {
		return d.unexpectedNext("seq", want)
	}
	raw, numeric := d.json.number()
	if !numeric {
		return d.syntax()
	}
	seq, ok := parseSeq(raw)
	if !ok {
		return d.unexpected("seq", want, raw)
	}
	d.m.Batch.Seq = seq
	return nil
}

func parseSeq(raw []byte) (uint64, bool) {
	seq, ok := parseInt(raw)
	if !ok || seq < 1 || seq > maxSeq {
		return 0, false
	}
	return uint64(seq), true
}

func (d *Decoder) threshold() *MessageError {
	const want = "1 to 14 lower-case hex digits"
	if d.typ != jsonString {
		return d.unexpectedNext("threshold", want)
	}
	raw, s, err := d.str()
	if err != nil {
		return err
	}
	t, ok := ParseThreshold(s)
	if !ok {
		return d.unexpected("threshold", want, raw)
	}
	d.m.Batch.Threshold, d.m.Batch.HasThreshold = t, true
	return nil
}

// dropped decodes what the agent dropped: reason to count.
func (d *Decoder) dropped() *MessageError {
	if d.typ != jsonObject {
		return d.unexpectedNext("dropped", "an object")
	}
	d.push("dropped", -1)
	if err := d.enter(); err != nil {
		return err
	}
	var it list
	base := len(d.names)
	for d.nextKey(&it) {
		key := it.key
		if err := d.userKey(base, key); err != nil {
			return err
		}
		n, ok, err := d.integer(key, 0)
		if err != nil {
			return err
		}
		if ok {
			d.m.Batch.Dropped = append(d.m.Batch.Dropped, Dropped{Reason: key, Count: uint64(n)})
		}
	}
	d.names = d.names[:base]
	d.pop()
	return d.endList()
}
