package wire

var (
	helloMessageKeys = oneOf("hello")
	helloKeys        = oneOf("instance", "agent", "resource", "aggregates")
	agentKeys        = oneOf("name", "version")
)

func (d *Decoder) helloMessage() *MessageError {
	d.m.Form = FormHello
	_, err := fields(d, helloMessageKeys, d.unknown, func(uint8, string) *MessageError {
		return d.nested("hello", d.hello)
	})
	if err != nil {
		return err
	}
	return d.end()
}

// nested decodes a value whose mistakes are told under its key.
func (d *Decoder) nested(key string, value func() *MessageError) *MessageError {
	d.push(key, -1)
	if err := value(); err != nil {
		return err
	}
	d.pop()
	return nil
}

func (d *Decoder) hello() *MessageError {
	h := &d.m.Hello
	_, err := fields(d, helloKeys, d.unknown, func(_ uint8, key string) (err *MessageError) {
		switch key {
		case "instance":
			h.Instance, err = d.name128(key)
		case "agent":
			err = d.nested(key, d.agent)
		case "resource":
			h.Resource, err = d.keyValues(key, &d.m.users)
		case "aggregates":
			h.Aggregates, _, err = d.boolean(key)
		}
		return err
	})
	if err == nil && h.Instance == "" {
		err = d.fail("instance", "is required")
	}
	return err
}

func (d *Decoder) agent() *MessageError {
	h := &d.m.Hello
	_, err := fields(d, agentKeys, d.unknown, func(_ uint8, key string) (err *MessageError) {
		if key == "name" {
			h.AgentName, err = d.optionalText(key)
		} else {
			h.AgentVersion, err = d.optionalText(key)
		}
		return err
	})
	return err
}
