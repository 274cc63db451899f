package soc2

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"github.com/spf13/cobra"

	"github.com/caddy-soc2/caddy-soc2/handlers/headers"
	"github.com/caddy-soc2/caddy-soc2/internal/demo"
)

func proxyCommand() *cobra.Command {
	cmd := command("proxy --to ADDR", "Proxy HTTPS to an address and keep evidence, in one command",
		`Serves HTTPS on --from and proxies to --to. Every request is recorded in the audit
log before its response ends, security headers are enforced on every response,
and plain HTTP on --http-port is redirected. The evidence is served below
/.soc2/, to the users of this host only, without a password; a proxy or tunnel on this
host that does not say so in its headers would open it to others.

A name that no public authority certifies, such as localhost, gets a certificate
of an internal authority, without a network. With --demo a sample application
takes the place of --to.`,
		cobra.NoArgs, runProxy)
	f := cmd.Flags()
	f.StringP("from", "f", "localhost:8443", "address to serve HTTPS on, HOST[:PORT]")
	f.StringP("to", "t", "", "address to proxy to: HOST:PORT, or a URL with http or https")
	f.Int("http-port", 8080, "port for plain HTTP, which is redirected")
	f.String("profile", headers.Baseline, "security headers: baseline, strict or api")
	f.String("data-dir", defaultDataDir(), "directory of the audit log and its key")
	f.Bool("internal-certs", false, "use the internal authority for public names too")
	f.Bool("demo", false, "proxy to a built-in sample application")
	f.BoolP("debug", "v", false, "log all that Caddy does")
	return cmd
}

// proxyOptions are the flags of the proxy command, checked.
type proxyOptions struct {
	host          string // that is served
	port          int
	httpPort      int
	upstream      string // HOST:PORT
	upstreamTLS   bool
	profile       string
	dataDir       string
	internalCerts bool
	debug         bool
}

func parseProxyFlags(cmd *cobra.Command) (o proxyOptions, demo bool, err error) {
	f := cmd.Flags()
	from, _ := f.GetString("from")
	to, _ := f.GetString("to")
	demo, _ = f.GetBool("demo")
	o.httpPort, _ = f.GetInt("http-port")
	o.profile, _ = f.GetString("profile")
	o.dataDir, _ = f.GetString("data-dir")
	o.internalCerts, _ = f.GetBool("internal-certs")
	o.debug, _ = f.GetBool("debug")
	if o.host, o.port, err = parseFrom(from); err != nil {
		return o, demo, err
	}
	switch {
	case demo && to != "":
		return o, demo, errors.New("--demo brings its own application: leave out --to, or leave out --demo")
	case !demo && to == "":
		return o, demo, errors.New("--to is needed: the address to proxy to, for example --to localhost:3000; or try --demo")
	case !demo:
		if o.upstream, o.upstreamTLS, err = parseTo(to); err != nil {
			return o, demo, err
		}
	}
	if !headers.Known(o.profile) {
		return o, demo, fmt.Errorf("--profile %q: choose baseline, strict or api", o.profile)
	}
	if o.httpPort < 1 || o.httpPort > 65535 || o.httpPort == o.port {
		return o, demo, fmt.Errorf("--http-port %d: it must be 1 to 65535 and not the port of --from", o.httpPort)
	}
	o.dataDir, err = filepath.Abs(o.dataDir)
	return o, demo, err
}

// defaultPort is the port of --from if it names none.
const defaultPort = 8443

func parseFrom(s string) (host string, port int, err error) {
	bad := fmt.Errorf("--from %q: write HOST or HOST:PORT, for example localhost:8443", s)
	host, digits, err := net.SplitHostPort(s)
	if err != nil {
		host, digits = strings.Trim(s, "[]"), strconv.Itoa(defaultPort)
	}
	port, err = parsePort(digits)
	if err != nil || !isHost(host) {
		return "", 0, bad
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		return "", 0, fmt.Errorf("--from %q: write the name or address that clients use; a name other than localhost is served on all interfaces", s)
	}
	return host, port, nil
}

func parseTo(s string) (dial string, useTLS bool, err error) {
	given := s
	bad := func() (string, bool, error) {
		return "", false, fmt.Errorf("--to %q: write HOST:PORT, http://HOST[:PORT] or https://HOST[:PORT]", given)
	}
	port := ""
	if strings.Contains(s, "://") {
		u, err := url.Parse(s)
		if err != nil || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
			return bad()
		}
		switch u.Scheme {
		case "http":
			port = "80"
		case "https":
			port, useTLS = "443", true
		default:
			return bad()
		}
		s = u.Host
		if u.Port() == "" {
			s = net.JoinHostPort(u.Hostname(), port)
		}
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || !isHost(host) {
		return bad()
	}
	if _, err := parsePort(port); err != nil {
		return bad()
	}
	return net.JoinHostPort(host, port), useTLS, nil
}

func parsePort(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 65535 {
		return 0, fmt.Errorf("%q is not a port", s)
	}
	return n, nil
}

// isHost reports whether s is an IP address or reads like a host name. It
// keeps Caddy's placeholders and wildcards out of the configuration.
func isHost(s string) bool {
	if net.ParseIP(s) != nil {
		return true
	}
	return s != "" && len(s) <= 253 && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_'
	})
}

func runProxy(cmd *cobra.Command, _ []string) (int, error) {
	o, withDemo, err := parseProxyFlags(cmd)
	if err != nil {
		return 2, err
	}
	if err := o.portsFree(); err != nil {
		return 1, err
	}
	if withDemo {
		ctx, stop := context.WithCancel(cmd.Context())
		defer stop()
		caddy.OnExit(func(context.Context) { stop() })
		if o.upstream, err = demo.Start(ctx); err != nil {
			return 1, err
		}
	}
	config, err := json.Marshal(o.config())
	if err != nil {
		return 1, err
	}
	caddy.TrapSignals()
	if err := caddy.Load(config, true); err != nil {
		return 1, o.explain(err)
	}
	o.awaitCertificate(cmd.Context())
	if err := o.announce(cmd.OutOrStdout(), withDemo); err != nil {
		return 1, errors.Join(err, caddy.Stop())
	}
	select {} // a signal ends the process, after all apps have stopped
}

// listen is the address to bind. A name of this host is served to this host
// only.
func (o *proxyOptions) listen(port int) string {
	host := ""
	switch ip := net.ParseIP(o.host); {
	case o.host == "localhost":
		host = "127.0.0.1"
	case ip != nil:
		host = o.host
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// portsFree binds the ports once without sharing them. Caddy itself shares
// ports, so that a reload can overlap, and would not notice another Caddy.
func (o *proxyOptions) portsFree() error {
	from, listen := fmt.Sprintf("--from %s:PORT", o.host), new(net.ListenConfig)
	ctx := context.Background()
	for port, flag := range map[int]string{o.port: from, o.httpPort: "--http-port PORT"} {
		ln, err := listen.Listen(ctx, "tcp", o.listen(port))
		if err != nil {
			return listenError(port, flag, err)
		}
		_ = ln.Close()
	}
	udp, err := listen.ListenPacket(ctx, "udp", o.listen(o.port)) // HTTP/3
	if err != nil {
		return listenError(o.port, from, err)
	}
	return udp.Close()
}

func listenError(port int, flag string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("port %d is in use: stop the other program, or choose another port with %s", port, flag)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("port %d may not be opened by this user: choose one above 1023 with %s", port, flag)
	}
	return fmt.Errorf("port %d cannot be opened: %w: choose another address with %s", port, err, flag)
}

// explain shortens an error of loading the configuration to its cause: the
// user did not write the configuration that the rest is about.
func (o *proxyOptions) explain(err error) error {
	if _, cause, ok := strings.Cut(err.Error(), "soc2: audit "); ok {
		return errors.New(strings.Replace(cause, "dir: ", "", 1) + " (--data-dir)")
	}
	return err
}

type object = map[string]any

// config is the configuration that the command runs.
func (o *proxyOptions) config() object {
	present := []string{"*"}
	evidence := object{
		"match": []object{{
			"path":      []string{"/.soc2", "/.soc2/*"},
			"remote_ip": object{"ranges": []string{"127.0.0.0/8", "::1"}},
			// Who comes through a proxy or tunnel of this host is not of this host.
			"not": []object{
				{"header": object{"Forwarded": present}},
				{"header": object{"X-Forwarded-For": present}},
				{"header": object{"X-Real-Ip": present}},
				{"header": object{"Via": present}},
				{"vars": object{headers.ForwardedVar: []string{"true"}}}, // soc2_headers removed the field
			},
		}},
		"handle":   []object{{"handler": "soc2_evidence", "allow_unauthenticated": true}},
		"terminal": true,
	}
	transport := object{"protocol": "http"}
	if o.upstreamTLS {
		transport["tls"] = object{}
	}
	proxy := object{"handle": []object{{
		"handler": "reverse_proxy", "transport": transport, "upstreams": []object{{"dial": o.upstream}},
	}}}
	site := object{
		"match":    []object{{"host": []string{o.host}}},
		"handle":   []object{{"handler": "subroute", "routes": []object{evidence, proxy}}},
		"terminal": true,
	}
	app := object{
		"http_port": o.httpPort, "grace_period": "10s",
		"servers": object{"proxy": object{
			"listen":            []string{o.listen(o.port)},
			"listener_wrappers": []object{{"wrapper": "soc2"}, {"wrapper": "tls"}},
			"routes":            []object{site},
		}},
	}
	if !o.internal() { // a public authority comes to port 443, which something maps to this one
		app["https_port"] = o.port
	}
	apps := object{
		"soc2": object{"profile": o.profile, "data_dir": o.dataDir},
		"http": app,
		"pki":  object{"certificate_authorities": object{"local": object{"install_trust": false}}},
	}
	if o.internal() {
		apps["tls"] = object{"automation": object{"policies": []object{{
			"subjects": []string{o.host}, "issuers": []object{{"module": "internal"}},
		}}}}
	}
	level := "WARN"
	if o.debug {
		level = "DEBUG"
	}
	return object{
		"admin":   object{"disabled": true, "config": object{"persist": false}},
		"logging": object{"logs": object{"default": object{"level": level}}},
		"apps":    apps,
	}
}

// internal reports whether the certificate comes from the internal authority.
func (o *proxyOptions) internal() bool {
	return o.internalCerts || !certmagic.SubjectQualifiesForPublicCert(o.host) || certmagic.SubjectIsIP(o.host)
}

// certificateWait is how long the command waits for its certificate before it
// says that it is ready all the same.
const certificateWait = 5 * time.Second

// awaitCertificate returns when the internal authority has issued the
// certificate, which Caddy does in the background: whoever reads that the proxy
// is ready can connect.
func (o *proxyOptions) awaitCertificate(ctx context.Context) {
	if !o.internal() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, certificateWait)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{ServerName: o.host, InsecureSkipVerify: true}} //nolint:gosec // only whether there is one
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if conn, err := dialer.DialContext(ctx, "tcp", o.listen(o.port)); err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// announce prints what is served and where the evidence is.
func (o *proxyOptions) announce(w io.Writer, withDemo bool) error {
	ctx := caddy.ActiveContext()
	v, err := ctx.AppIfConfigured("soc2")
	if err != nil {
		return err
	}
	app, ok := v.(*App)
	if !ok {
		return fmt.Errorf("the app soc2 is a %T", v)
	}
	base := "https://" + net.JoinHostPort(o.host, strconv.Itoa(o.port))
	to := o.upstream
	if withDemo {
		to += " (built-in sample application)"
	}
	certificate := "a public authority"
	if o.internal() {
		certificate = "the internal authority, which browsers do not know (curl -k)"
	}
	dir, key := app.Log().Dir(), app.Log().Key().Public()
	var b strings.Builder
	for _, line := range [][2]string{
		{"serving", base + "/"},
		{"proxied to", to},
		{"redirecting", "http://" + net.JoinHostPort(o.host, strconv.Itoa(o.httpPort)) + "/"},
		{"certificate", "from " + certificate},
		{"headers", o.profile},
		{"evidence", base + "/.soc2/  (to the users of this host, without a password)"},
		{"audit log", dir},
		{"key", key},
		{"verify", fmt.Sprintf("soc2-verify %s --key %s", dir, key)},
	} {
		fmt.Fprintf(&b, "%-12s %s\n", line[0], line[1])
	}
	fmt.Fprintf(&b, "ready after %s; stop with Ctrl-C\n", time.Since(processStart).Round(time.Millisecond))
	_, err = io.WriteString(w, b.String())
	return err
}

var processStart = time.Now()
