package soc2

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap/exp/zapslog"
	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/cosignature"
	"github.com/caddy-soc2/caddy-soc2/audit/notary"
	"github.com/caddy-soc2/caddy-soc2/audit/timestamp/tsa"
	"github.com/caddy-soc2/caddy-soc2/audit/witness"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// Anchors says which outsiders see the head of the log, so that not even who
// holds its key can rewrite what they saw.
type Anchors struct {
	// Witnesses cosign the log's checkpoints (C2SP tlog-witness). One that does
	// not answer never stops the log.
	Witnesses []Witness `json:"witnesses,omitempty"`

	// WitnessInterval is how often a grown log is shown to them. Default: 1m.
	// Minimum: 1s.
	WitnessInterval caddy.Duration `json:"witness_interval,omitempty"`

	// Timestamp is an authority that stamps checkpoints (RFC 3161).
	Timestamp *Timestamp `json:"timestamp,omitempty"`
}

// Witness is a witness of the log.
type Witness struct {
	// URL is the witness's submission prefix, without /add-checkpoint.
	URL string `json:"url"`

	// Key is the witness's verifier key, NAME+HASH+KEY, of the kind for
	// cosignatures (C2SP tlog-cosignature).
	Key string `json:"key"`
}

// Timestamp is a time-stamping authority.
type Timestamp struct {
	// URL is where the authority answers, http or https: its answers are signed.
	URL string `json:"url"`

	// Roots is a file of PEM certificates, which the authority's certificate
	// must lead to. Default: the authorities that the system trusts.
	Roots string `json:"roots,omitempty"`

	// Interval is how often a grown log is stamped. Default: 1h. Minimum: 1m.
	Interval caddy.Duration `json:"interval,omitempty"`
}

const (
	minWitnessInterval   = time.Second
	minTimestampInterval = time.Minute
)

// notaryConfig checks the anchors and makes them ready.
func (a *Anchors) notaryConfig() (c notary.Config, err error) {
	c = notary.Config{WitnessEvery: time.Duration(a.WitnessInterval)}
	if c.WitnessEvery != 0 && c.WitnessEvery < minWitnessInterval {
		return c, fmt.Errorf("soc2: audit witness_interval %s: it must be at least %s", c.WitnessEvery, minWitnessInterval)
	}
	for _, w := range a.Witnesses {
		key, err := cosignature.NewVerifier(w.Key)
		if err != nil {
			return c, fmt.Errorf("soc2: audit witness %s: key: %w", w.URL, err)
		}
		c.Witnesses = append(c.Witnesses, &witness.Client{URL: w.URL, Verifier: key})
	}
	if _, err := witness.NewGroup(c.Witnesses...); err != nil {
		return c, fmt.Errorf("soc2: audit witness: %w", err)
	}
	if t := a.Timestamp; t != nil {
		if c.TSA, err = t.client(); err != nil {
			return c, fmt.Errorf("soc2: audit timestamp %s: %w", t.URL, err)
		}
		c.StampEvery = time.Duration(t.Interval)
	}
	return c, nil
}

func (t *Timestamp) client() (*tsa.Client, error) {
	if d := time.Duration(t.Interval); d != 0 && d < minTimestampInterval {
		return nil, fmt.Errorf("interval %s: it must be at least %s", d, minTimestampInterval)
	}
	if u, err := url.Parse(t.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("its URL must begin with http:// or https:// and a host")
	}
	roots, err := t.pool()
	if err != nil {
		return nil, fmt.Errorf("roots: %w: name a file with the authority's root certificates (PEM), or leave roots out to trust those of the system", err)
	}
	return &tsa.Client{URL: t.URL, Roots: roots}, nil
}

// pool holds the certificates that the authority's must lead to.
func (t *Timestamp) pool() (*x509.CertPool, error) {
	if t.Roots == "" {
		return x509.SystemCertPool()
	}
	pem, err := os.ReadFile(t.Roots)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", t.Roots)
	}
	return roots, nil
}

// WitnessServer makes this instance a witness for the logs of others. The
// handler soc2_witness serves it.
type WitnessServer struct {
	// Name is the witness's name in its key, when the key is made: a URL without
	// its scheme, such as example.com/witness. Default: the instance's name and
	// "/witness".
	Name string `json:"name,omitempty"`

	// KeyFile holds the private key that cosigns. It is made if it does not
	// exist. Default: keys/witness.key in the data directory.
	KeyFile string `json:"key_file,omitempty"`

	// Dir holds what the witness remembers. Who loses it has a witness that can
	// cosign a second history. Default: witness in the data directory.
	Dir string `json:"dir,omitempty"`

	// Logs are the verifier keys, NAME+HASH+KEY, of the logs that are witnessed.
	// The keys of one log in a rotation have the same name.
	Logs []string `json:"logs,omitempty"`
}

func (w *WitnessServer) setDefaults(a *App) {
	repl := caddy.NewReplacer()
	for _, s := range []*string{&w.Name, &w.KeyFile, &w.Dir} {
		*s = repl.ReplaceKnown(*s, "")
	}
	if w.Name == "" {
		w.Name = a.InstanceName + "/witness"
	}
	if w.KeyFile == "" {
		w.KeyFile = filepath.Join(a.DataDir, filepath.FromSlash(witnessKeyFile))
	}
	if w.Dir == "" {
		w.Dir = filepath.Join(a.DataDir, witnessFolder)
	}
}

// known are the logs, with their keys put together by origin.
func (w *WitnessServer) known() (logs []witness.Log, err error) {
	at := map[string]int{}
	for _, vkey := range w.Logs {
		v, err := note.NewVerifier(vkey)
		if err != nil {
			return nil, fmt.Errorf("log %q: it is not a verifier key, NAME+HASH+KEY: %w", vkey, err)
		}
		i, ok := at[v.Name()]
		if !ok {
			i = len(logs)
			at[v.Name()] = i
			logs = append(logs, witness.Log{Origin: v.Name()})
		}
		logs[i].Keys = append(logs[i].Keys, v)
	}
	return logs, nil
}

// witnesses holds the open witnesses of this process by directory, for those
// configurations that share them through a reload.
var witnesses = caddy.NewUsagePool()

// sharedWitness is an open witness.
type sharedWitness struct{ *witness.Server }

// Destruct implements caddy.Destructor.
func (s sharedWitness) Destruct() error { return s.Close() }

// openWitness opens the witness of an app or joins it. Its settings change in
// Start.
func (a *App) openWitness() error {
	w := a.Witness
	if w == nil {
		return nil
	}
	key, err := w.key()
	if err != nil {
		return fmt.Errorf("soc2: witness key_file: %w", err)
	}
	logs, err := w.known()
	if err != nil {
		return fmt.Errorf("soc2: witness: %w", err)
	}
	v, _, err := witnesses.LoadOrNew(w.Dir, func() (caddy.Destructor, error) {
		s, err := witness.Open(witness.Config{Dir: w.Dir, Key: key, Logs: logs, Logger: slogger()})
		return sharedWitness{s}, err
	})
	if err != nil {
		return fmt.Errorf("soc2: witness dir: %w", err)
	}
	a.witness, _ = v.(sharedWitness)
	a.useWitness = func() error { return a.witness.Use(key, logs) }
	return nil
}

func (w *WitnessServer) key() (*cosignature.Key, error) {
	b, err := os.ReadFile(w.KeyFile)
	if err == nil {
		return cosignature.ParseKey(string(b))
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	key, err := cosignature.NewKey(w.Name)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(w.KeyFile), durable.DirMode); err != nil {
		return nil, err
	}
	return key, durable.NewFile(durable.OS{}, w.KeyFile, []byte(key.Private()+"\n"))
}

// WitnessHandler is the witness that this instance is, or nil.
func (a *App) WitnessHandler() http.Handler {
	if a.witness.Server == nil {
		return nil
	}
	return a.witness.Server
}

// slogger is the server's log for packages that know no Caddy.
func slogger() *slog.Logger {
	return slog.New(zapslog.NewHandler(caddy.Log().Named("soc2").Core()))
}

// newNotary starts the notary of a log.
func newNotary(log *audit.Log, instance string) *notary.Notary {
	return notary.New(log, instance, slogger())
}
