package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// stage is the server under test, with what it serves.
type stage struct {
	p                                      *process
	plain, secure, mutual, hasty, redirect string // addresses
	files                                  string
}

// startStage starts a server that can answer in all the ways of the table.
func startStage(h home) *stage { return startStageWith(h, "strict") }

func startStageWith(h home, profile string) *stage {
	t := h.t
	t.Helper()
	s := &stage{files: t.TempDir()}
	for _, addr := range []*string{&s.plain, &s.secure, &s.mutual, &s.hasty, &s.redirect} {
		*addr = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	}
	if err := os.WriteFile(filepath.Join(s.files, "file.txt"), []byte("0123456789"), 0o644); err != nil {
		t.Fatal(err)
	}
	port := func(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
	config := strings.NewReplacer(
		"PROFILE", profile,
		"PLAIN", port(s.plain), "SECURE", port(s.secure), "MUTUAL", port(s.mutual), "REDIRECT", port(s.redirect),
		"HASTY", port(s.hasty), "FILES", s.files, "ZIPPED", strings.Repeat("zipped ", 200),
		"UPSTREAM", startOdd(t), "GRPC", startGRPC(t), "DEAD", fmt.Sprintf("127.0.0.1:%d", freePort(t)),
	).Replace(stageConfig)
	name := filepath.Join(h.dir, "Caddyfile")
	if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.p = h.start("serving initial configuration", "caddy", "run", "--config", name, "--adapter", "caddyfile")
	// No connection may ask whether the certificates are there: it would count.
	atLeast(t, "certificates", 1, func() int { return strings.Count(s.p.text(), "added certificate to cache") })
	return s
}

const stageConfig = `{
	admin off
	local_certs
	skip_install_trust
	default_bind 127.0.0.1
	http_port REDIRECT
	grace_period 3s
	log certificates {
		include tls.cache
		level DEBUG
	}
	soc2 {
		profile PROFILE
	}
	servers {
		strict_sni_host on
		listener_wrappers {
			soc2
			tls
		}
	}
	servers 127.0.0.1:HASTY {
		timeouts {
			read_header 300ms
			read_body 300ms
			write 600ms
			idle 300ms
		}
		listener_wrappers {
			soc2
			tls
		}
	}
}
&(named) {
	respond "named" 203
}
(site) {
	soc2_audit
	respond /ok "ok"
	respond /empty 204
	respond /busy "busy" 503
	respond /close "bye" {
		close
	}
	redir /moved /ok 301
	abort /abort
	invoke /named named
	handle /private {
		basic_auth {
			nobody $2a$14$xp5.M5ZTQPgvVl/YKG9Wgusp19M2AIvRn5cZuRaGAuEH/ZMb27C9W
		}
		respond "private"
	}
	error /forbidden "no" 403
	error /missing "no" 404
	error /broken "oops" 500
	handle /files/* {
		uri strip_prefix /files
		root FILES
		file_server
	}
	handle /limited {
		request_body {
			max_size 10
		}
		reverse_proxy UPSTREAM
	}
	handle /zipped {
		encode gzip
		respond "ZIPPED"
	}
	handle_path /up/* {
		reverse_proxy UPSTREAM
	}
	handle_path /impatient/* {
		reverse_proxy UPSTREAM {
			transport http {
				response_header_timeout 100ms
			}
		}
	}
	handle_path /intercepted/* {
		reverse_proxy UPSTREAM {
			@teapot status 418
			handle_response @teapot {
				respond "no teapot" 406
			}
		}
	}
	reverse_proxy /dead DEAD
	reverse_proxy /grpc.health.v1.Health/* h2c://GRPC
	handle_errors 403 {
		soc2_audit
		respond "page" 410
	}
	handle_errors 404 {
		@page path /missing
		respond @page "not here" 404
	}
	handle_errors 500 {
		reverse_proxy DEAD
	}
}
http://localhost:PLAIN {
	import site
}
https://localhost:SECURE {
	import site
}
https://localhost:MUTUAL {
	tls {
		client_auth {
			mode require
		}
	}
	respond "ok"
}
http://localhost:HASTY {
	handle_path /up/* {
		reverse_proxy UPSTREAM
	}
}
`
