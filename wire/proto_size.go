package wire

// ProtoSize tells how much a message of the binary form becomes at the most,
// without decoding it: rows are its connections, events and stats, values what
// they hold besides: attributes of the user, elements of arrays, links, buckets.
// Of a message with a mistake it tells something.
func ProtoSize(data []byte) (rows, values int) {
	for it := (fieldIter{rest: data}); it.step(); {
		switch it.num {
		case messageHello:
			values += sizeInner(it.b, helloResource, sizeAttributes)
		case messageBatch:
			r, v := sizeBatch(it.b)
			rows, values = rows+r, values+v
		case messageEvents:
			r, v := sizeEvents(it.b)
			rows, values = rows+r, values+v
		}
	}
	return rows, values
}

func sizeBatch(b []byte) (rows, values int) {
	for it := (fieldIter{rest: b}); it.step(); {
		switch it.num {
		case batchResourceField:
			values += sizeAttributes(it.b)
		case batchConnectionsField:
			rows++
			values += sizeInner(it.b, connectionAttributesField, sizeAttribute)
		case batchEventsField:
			r, v := sizeEvents(it.b)
			rows, values = rows+r, values+v
		case batchStatsField:
			rows++
			values += sizeInner(it.b, statAttributesField, sizeAttribute) + sizeInner(it.b, statBucketCountsField, length)
		}
	}
	return rows, values
}

func sizeEvents(b []byte) (rows, values int) {
	for it := (fieldIter{rest: b}); it.step(); {
		if it.num == eventsKinds {
			rows = len(it.b)
		}
	}
	for it := (fieldIter{rest: b}); it.step(); {
		switch it.num {
		case eventsLinks:
			values += sizeInner(it.b, eventLinksLinks, func(link []byte) int { return 1 + sizeInner(link, linkAttributes, sizeAttribute) })
		case eventsColumns:
			values += sizeColumn(it.b, rows)
		}
	}
	return rows, values
}

// sizeColumn counts the values of a column that are not fields of their rows,
// and the elements of its arrays.
func sizeColumn(b []byte, rows int) (values int) {
	n, elements := 0, 0
	for it := (fieldIter{rest: b}); it.step(); {
		switch it.num {
		case columnAttribute:
			rows = 0
		case columnInts, columnHandles, columnBools:
			n += len(it.b)
		case columnDoubles:
			n += len(it.b) / 8
		case columnTexts:
			n++
		case columnArrays:
			n++
			elements += sizeArray(it.b)
		}
	}
	return min(n, rows) + elements
}

// sizeInner adds up the sizes of the fields of that number.
func sizeInner(b []byte, num int, size func([]byte) int) (values int) {
	for it := (fieldIter{rest: b}); it.step(); {
		if it.num == num {
			values += size(it.b)
		}
	}
	return values
}

func length(b []byte) int { return len(b) }

func sizeAttributes(b []byte) int { return sizeInner(b, 1, sizeAttribute) }

func sizeAttribute(b []byte) int {
	return 1 + sizeInner(b, attributeValue, func(value []byte) int { return sizeInner(value, valueArray, sizeArray) })
}

func sizeArray(b []byte) (elements int) {
	for it := (fieldIter{rest: b}); it.step(); {
		switch it.num {
		case arrayStrings:
			elements++
		case arrayDoubles:
			elements += len(it.b) / 8
		default:
			elements += len(it.b)
		}
	}
	return elements
}
