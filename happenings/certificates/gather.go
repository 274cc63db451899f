package certificates

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// folder is where CertMagic keeps the certificates that it manages.
const folder = "certificates"

// gather returns the certificates that are in the cache and in the storage.
//
// The cache is asked by name. The names are those of events, of the
// certificates in the storage, of the automation policies, and of the hosts
// that the sites match.
func gather(ctx context.Context, config caddy.Context, events *nameSet) []held {
	stored := inStorage(ctx, config.Storage())
	bySum := map[sum]held{}
	for _, h := range stored {
		bySum[sumOf(h.leaf)] = h
	}
	for name := range configuredNames(config) {
		inCache(name, false, true, bySum)
	}
	for _, h := range stored {
		for _, name := range namesOf(h.leaf) {
			inCache(name, true, false, bySum)
		}
	}
	events.mu.Lock()
	defer events.mu.Unlock()
	for name, s := range events.list {
		if inCache(name, s.managed, false, bySum) {
			s.missing = 0
		} else if s.missing++; s.missing > forgetAfter {
			delete(events.list, name)
		}
	}
	return slices.Collect(maps.Values(bySum))
}

// inCache adds the certificates of the cache that serve a name, which may be one
// of the configuration. It reports whether there are any.
func inCache(name string, managed, configured bool, bySum map[sum]held) bool {
	list := caddytls.AllMatchingCertificates(name)
	for i := range list {
		c := list[i].Leaf
		if c == nil {
			continue
		}
		s := sumOf(c)
		h := bySum[s] // what is in the storage is managed
		h.leaf, h.managed, h.source = c, h.managed || managed, sourceCache
		if configured {
			h.sites = append(h.sites, name)
		}
		bySum[s] = h
	}
	return len(list) > 0
}

// inStorage reads the certificates of a storage.
func inStorage(ctx context.Context, storage certmagic.Storage) []held {
	if storage == nil {
		return nil
	}
	keys, err := storage.List(ctx, folder, true)
	if err != nil { // there are none, or it cannot be read
		return nil
	}
	var list []held
	for _, key := range keys {
		if !strings.HasSuffix(key, ".crt") || len(list) >= maxKnown || ctx.Err() != nil {
			continue
		}
		chain, err := storage.Load(ctx, key)
		if err != nil {
			continue // it was removed
		}
		c, err := leaf(chain)
		if err != nil {
			caddy.Log().Named("soc2").Warn("a certificate in the storage cannot be read", zap.String("key", key), zap.Error(err))
			continue
		}
		list = append(list, held{leaf: c, managed: true, source: sourceStorage})
	}
	return list
}

// configuredNames returns the names that a configuration has for certificates.
func configuredNames(config caddy.Context) map[string]struct{} {
	names := map[string]struct{}{}
	if app, err := config.AppIfConfigured("tls"); err == nil {
		if t, ok := app.(*caddytls.TLS); ok && t.Automation != nil {
			for _, p := range t.Automation.Policies {
				for _, name := range p.Subjects() {
					names[name] = struct{}{}
				}
			}
		}
	}
	app, err := config.AppIfConfigured("http")
	if err != nil {
		return names
	}
	if http, ok := app.(*caddyhttp.App); ok {
		for _, srv := range http.Servers {
			hosts(srv, names)
		}
	}
	return names
}

// hosts adds the names that the sites of a server match.
func hosts(srv *caddyhttp.Server, names map[string]struct{}) {
	if srv == nil {
		return
	}
	for _, route := range srv.Routes {
		for _, set := range route.MatcherSets {
			for _, m := range set {
				var list caddyhttp.MatchHost
				switch m := m.(type) {
				case caddyhttp.MatchHost:
					list = m
				case *caddyhttp.MatchHost:
					list = *m
				}
				for _, name := range list {
					names[name] = struct{}{}
				}
			}
		}
	}
}
