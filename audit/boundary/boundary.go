// Package boundary says what a log of this version holds: which classes of
// events are recorded one by one, which are counted, and which stay unseen, each
// with the reason. A claim that a population is complete is worth what its
// boundary is worth, so reports print it.
package boundary

// Coverage is how a class is covered.
type Coverage string

// The kinds of coverage.
const (
	Record    Coverage = "record"    // one record each
	Count     Coverage = "count"     // added up in protocol.error records
	Invisible Coverage = "invisible" // neither
)

// Class is a class of events at the edge.
type Class struct {
	// ID names the class. For one that is counted it is the layer and the
	// reason of its protocol.error records, with a slash between.
	ID string `json:"id"`

	// Layer is the protocol: ip, tcp, tls, http1, http2, http3, http or caddy.
	Layer string `json:"layer"`

	// Covered is how the class is covered.
	Covered Coverage `json:"covered"`

	// What is in the class.
	What string `json:"what"`

	// Why it is covered so, and how far.
	Why string `json:"why"`
}

// Boundary is what is served to machines.
type Boundary struct {
	// Version changes when a class is added, removed or covered in another way.
	Version int `json:"version"`

	// Holds says for which servers the classes hold.
	Holds string `json:"holds"`

	// Classes are in the order of the layers, from the network up.
	Classes []Class `json:"classes"`
}

// Now is the boundary of this version.
func Now() Boundary {
	return Boundary{
		Version: 2,
		Holds: "Servers whose listener_wrappers list soc2 before tls. Of other servers only those requests are recorded " +
			"that reach a soc2_audit handler, and nothing is counted.",
		Classes: classes(),
	}
}

func classes() []Class {
	var list []Class
	for _, part := range [][]Class{network(), tlsLayer(), http1(), http2(), http3(), caddy()} {
		list = append(list, part...)
	}
	return list
}

func record(layer, id, what, why string) Class {
	return Class{layer + "/" + id, layer, Record, what, why}
}

func count(layer, id, what, why string) Class {
	return Class{layer + "/" + id, layer, Count, what, why}
}

func invisible(layer, id, what, why string) Class {
	return Class{layer + "/" + id, layer, Invisible, what, why}
}
