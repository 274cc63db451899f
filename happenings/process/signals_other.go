//go:build !unix

package process

import "os"

// signals are those that Caddy catches.
var signals = []os.Signal{os.Interrupt}

func nameOf(s os.Signal) string { return s.String() }
