// Package wire counts what a server refuses, or answers, without any handler:
// failed TLS handshakes, malformed and unfinished requests, connections without
// a request, HTTP/2 connections and streams that break the protocol. What
// reaches a handler has a record of its own and is not counted here.
//
// It stands in four places. Beneath TLS a listener wrapper sees the bytes of
// each connection (Counts.Listen). In the server hooks tell when a connection is
// new, reads a request, is idle and ends (Watch); a matcher at the begin of each
// chain tells that a request has reached it (Entered). Around HTTP/2, above TLS,
// frames are seen in the clear. None of these changes what clients see.
//
// Above TLS, too, the heads of HTTP/1 requests are seen (Above). Those whose
// framing is ambiguous net/http would serve: they are made into what it refuses
// (Framing). So this is the one place that changes an answer.
//
// An attacker decides how much there is to count: it is added up under a bounded
// number of keys (Counts) and becomes protocol.error records every TellEvery
// (Teller). docs/boundary.md says what is counted, and what stays unseen.
package wire

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"reflect"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Server is where Watch registers its hooks. *caddyhttp.Server implements it.
type Server interface {
	RegisterConnState(f func(net.Conn, http.ConnState))
	RegisterConnContext(f func(ctx context.Context, c net.Conn) context.Context)
}

// Watch follows the connections of a server that come from a listener of Listen.
// It must be called before the server starts. Entered must be the first matcher
// of all chains of the server.
//
// With the mode, it looks at the framing of requests over HTTP/1. Those that come
// over TLS it sees where a listener of Above is around the TLS listener.
func Watch(s Server, mode Framing) {
	var once sync.Once
	s.RegisterConnContext(func(ctx context.Context, c net.Conn) context.Context {
		w, t := find(c)
		if w == nil {
			return ctx
		}
		w.tls = t
		hs, _ := ctx.Value(http.ServerContextKey).(*http.Server)
		switch {
		case w.secure != nil:
			w.secure.ctx = context.WithValue(ctx, http.LocalAddrContextKey, c.LocalAddr())
			w.secure.server = hs
			w.framing.mode = mode
		case t == nil:
			w.framing.mode = mode
		}
		// No connection is served before its context is made. So the first one
		// may change the server's table of protocols.
		once.Do(func() {
			if hs != nil {
				watchHTTP2(hs)
			}
		})
		return context.WithValue(ctx, watchKey{}, w)
	})
	s.RegisterConnState(func(c net.Conn, s http.ConnState) {
		if s == http.StateNew {
			return
		}
		if w, _ := find(c); w != nil {
			w.state(s)
		}
	})
}

type watchKey struct{}

// Entered is a matcher that matches every request, and notes that the request
// has reached a chain of handlers. It is no handler, because Caddy makes each
// handler anew for each request, and deepens the stack with it.
type Entered struct{}

// MatchWithError implements caddyhttp.RequestMatcherWithError.
func (Entered) MatchWithError(r *http.Request) (bool, error) {
	if c, ok := r.Context().Value(watchKey{}).(*watch); ok && !c.entered.Load() {
		c.entered.Store(true)
	}
	return true, nil
}

// maxWraps is how many connections may lie around ours.
const maxWraps = 8

// find returns what watches a connection, and the TLS connection around it if
// there is one. It is nil of connections that no listener of Listen accepted.
func find(c net.Conn) (*watch, *tls.Conn) {
	var t *tls.Conn
	for range maxWraps {
		switch v := c.(type) {
		case nil:
			return nil, nil
		case watched:
			return v.watching(), t
		case *secureConn:
			return v.watch, v.Conn
		case *tls.Conn:
			t, c = v, v.NetConn()
		case interface{ NetConn() net.Conn }:
			c = v.NetConn()
		default:
			c = embedded(c)
		}
	}
	return nil, nil
}

// embedded returns the net.Conn that a struct embeds. Caddy wraps connections in
// such structs on listeners without TLS that speak one protocol.
func embedded(c net.Conn) net.Conn {
	v := reflect.Indirect(reflect.ValueOf(c))
	if v.Kind() != reflect.Struct {
		return nil
	}
	field := v.FieldByName("Conn")
	if !field.IsValid() || !field.CanInterface() {
		return nil
	}
	inner, _ := reflect.TypeAssert[net.Conn](field)
	return inner
}

var _ caddyhttp.RequestMatcherWithError = Entered{}
