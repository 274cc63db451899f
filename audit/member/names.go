package member

import "bytes"

// none is no Field.
const none Field = -1

// object is an object in a record that has fields in it.
type object int

const (
	other object = iota
	tls
	request
	auth
	access
	limit
	headers
	upstream
	response
)

// top tells what a member of the record is.
func top(name []byte) (Field, object) {
	switch string(name) {
	case "time":
		return Time, other
	case "kind":
		return Kind, other
	case "level":
		return Level, other
	case "cache":
		return Cache, other
	case "duration_ns":
		return Duration, other
	case "tls":
		return none, tls
	case "request":
		return none, request
	case "auth":
		return none, auth
	case "access":
		return none, access
	case "limit":
		return none, limit
	case "headers":
		return none, headers
	case "upstream":
		return none, upstream
	case "response":
		return none, response
	}
	return none, other
}

// within tells what a member of such an object is.
func within(o object, name []byte) Field {
	switch o {
	case tls:
		return is(name, "version", TLSVersion)
	case request:
		switch string(name) {
		case "proto":
			return Proto
		case "method":
			return Method
		case "host":
			return Host
		}
	case auth:
		return is(name, "user", User)
	case access:
		return is(name, "outcome", Access)
	case limit:
		return is(name, "outcome", Limit)
	case headers:
		return is(name, "mended", Mended)
	case upstream:
		return is(name, "address", Upstream)
	case response:
		switch string(name) {
		case "status":
			return Status
		case "bytes":
			return Bytes
		case "end":
			return End
		}
	}
	return none
}

func is(name []byte, want string, f Field) Field {
	if string(name) == want {
		return f
	}
	return none
}

// few is how many names are compared one by one.
const few = 64

// names are those that an object has had so far.
type names struct {
	marks uint64 // a bit for each name; two names may have the same
	list  [few]span
	count int
	many  map[string]struct{} // all, if they are more than few
}

func (n *names) reset() {
	n.marks, n.count = 0, 0
	if len(n.many) > 0 {
		clear(n.many)
	}
}

// add reports whether a name is new.
func (n *names) add(b []byte, key span) bool {
	name := b[key.from:key.to]
	if n.count >= few {
		return n.addMany(b, name)
	}
	h := uint(len(name))
	if h > 0 {
		h = h*5 + uint(name[0])*7 + uint(name[h-1])*3
	}
	bit := uint64(1) << (h & 63)
	if n.marks&bit != 0 {
		for _, s := range n.list[:n.count] {
			if bytes.Equal(b[s.from:s.to], name) {
				return false
			}
		}
	}
	n.marks |= bit
	n.list[n.count] = key
	n.count++
	return true
}

func (n *names) addMany(b, name []byte) bool {
	if n.many == nil {
		n.many = map[string]struct{}{}
	}
	if len(n.many) == 0 {
		for _, s := range n.list {
			n.many[string(b[s.from:s.to])] = struct{}{}
		}
	}
	if _, ok := n.many[string(name)]; ok {
		return false
	}
	n.many[string(name)] = struct{}{}
	return true
}
