package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/cosignature"
	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// instance is one of two servers that witness each other's logs.
type instance struct {
	h         home
	port      int
	log       *audit.Key
	witness   *cosignature.Key
	p         *process
	dir, name string
}

// TestInstancesWitnessEachOther has two servers cosign each other's checkpoints
// over HTTP, and a verifier ask for the cosignature.
func TestInstancesWitnessEachOther(t *testing.T) {
	var both [2]*instance
	for i := range both {
		h := newHome(t)
		s := &instance{h: h, port: freePort(t), name: fmt.Sprint("edge-", i)}
		s.dir = filepath.Join(h.dir, "caddy", "soc2")
		var err error
		if s.log, err = audit.NewKey(s.name + "/soc2"); err != nil {
			t.Fatal(err)
		}
		if err := s.log.Save(durable.OS{}, filepath.Join(s.dir, "keys", "log.key")); err != nil {
			t.Fatal(err)
		}
		if s.witness, err = cosignature.NewKey(s.name + "/witness"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.dir, "keys", "witness.key"), []byte(s.witness.Private()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		both[i] = s
	}
	for i, s := range both {
		other := both[1-i]
		config := fmt.Sprintf(`{
	admin off
	persist_config off
	soc2 {
		instance %s
		audit {
			checkpoint every 100ms
			witness http://127.0.0.1:%d/witness %s
			witness_interval 1s
		}
		witness_server {
			log %s
		}
	}
}
http://127.0.0.1:%d {
	soc2_witness
	respond ok
}
`, s.name, other.port, other.witness.Public(), other.log.Public(), s.port)
		name := filepath.Join(s.h.dir, "Caddyfile")
		if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		s.p = s.h.start("serving initial configuration", "caddy", "run", "--config", name, "--adapter", "caddyfile")
	}
	for _, s := range both {
		atLeast(t, "witnessed checkpoints", 1, func() int {
			_, err := os.Stat(filepath.Join(s.dir, "log", "witnessed"))
			if err != nil {
				return 0
			}
			return 1
		})
	}
	for i, s := range both {
		if code := s.p.stop(syscall.SIGTERM); code != 0 {
			t.Errorf("exit %d:\n%s", code, s.p.text())
		}
		if code, out := s.h.run("caddy", "soc2", "key", "witness"); code != 0 || strings.TrimSpace(out) != s.witness.Public() {
			t.Errorf("exit %d: %s", code, out)
		}
		args := []string{filepath.Join(s.dir, "log"), "--key", s.log.Public(), "--witness"}
		if code, out := s.h.run("soc2-verify", append(args, both[1-i].witness.Public())...); code != 0 || !strings.Contains(out, "cosigned by "+both[1-i].name+"/witness") {
			t.Errorf("exit %d: %s", code, out)
		}
		if code, out := s.h.run("soc2-verify", append(args, s.witness.Public())...); code != 1 || !strings.Contains(out, "has not cosigned") {
			t.Errorf("a witness that did not cosign: exit %d: %s", code, out)
		}
	}
}
