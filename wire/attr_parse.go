package wire

// ParseAttr returns the attribute of the conventions that has that name.
func ParseAttr(name string) (Attr, bool) {
	for i := attrHash(name); ; i++ { // wraps around at 256
		switch a := attrTable[i]; {
		case a == NumAttrs:
			return 0, false
		case attrInfos[a].Name == name:
			return a, true
		}
	}
}

// attrTable finds attributes by name: open addressing, at most one sixth full.
// A map costs three times as much, once for each key of each event.
var attrTable = func() (table [256]Attr) {
	for i := range table {
		table[i] = NumAttrs
	}
	for a := range NumAttrs {
		i := attrHash(attrInfos[a].Name)
		for table[i] != NumAttrs {
			i++
		}
		table[i] = a
	}
	return table
}()

// attrHash mixes the length and three characters, which tell the names apart.
func attrHash(name string) uint8 {
	n := len(name)
	if n < 3 {
		return 0
	}
	h := uint32(n)*31 + uint32(name[n-1])*7 + uint32(name[n-3])*131 + uint32(name[n/2])*61
	return uint8(h ^ h>>8)
}
