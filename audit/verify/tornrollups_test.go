package verify_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/audit/rollup"
	"github.com/caddy-soc2/caddy-soc2/audit/verify"
)

// crashed is a copy of a log that was not closed, with its rollup frames.
func crashed(t *testing.T) (s *site, frames [][]byte) {
	t.Helper()
	s, frames = rolled(t)
	log, err := audit.Open(s.config())
	if err != nil {
		t.Fatal(err)
	}
	c := &site{t: t, dir: filepath.Join(t.TempDir(), "log"), key: s.key}
	err = os.CopyFS(c.dir, os.DirFS(s.dir))
	if cerr := log.Close(); err != nil || cerr != nil {
		t.Fatal(err, cerr)
	}
	c.write(rollup.File, bytes.Join(frames, nil))
	c.ok(verify.Options{})
	return c, frames
}

// TestRollupsOfALogThatIsNotClosedAreCompared changes the file in ways that no
// power cut leaves.
func TestRollupsOfALogThatIsNotClosedAreCompared(t *testing.T) {
	s, frames := crashed(t)
	all := bytes.Join(frames, nil)
	for _, at := range []int{1, 40, len(frames[0]) + 50, len(all) - 30} {
		bad := bytes.Clone(all)
		bad[at] ^= 1
		s.write(rollup.File, bad)
		s.fails(verify.Options{}, rollup.File, "differs from the rollup record")
		bad[at] = 0
		s.write(rollup.File, bad)
		s.fails(verify.Options{}, rollup.File, "differs from the rollup record")
	}
	for _, more := range [][]byte{frames[0], []byte("junk")} {
		s.write(rollup.File, append(bytes.Clone(all), more...))
		s.fails(verify.Options{}, rollup.File, "no rollup record of the log")
	}
}

// TestRollupsThatAPowerCutTearsAreNoted leaves what was not synced out: the end
// of the file, or sectors in it.
func TestRollupsThatAPowerCutTearsAreNoted(t *testing.T) {
	s, frames := crashed(t)
	all := bytes.Join(frames, nil)
	last := len(all) - len(frames[len(frames)-1])
	for name, file := range map[string][]byte{
		"cut":          all[:len(all)-20],
		"zeros":        append(bytes.Clone(all[:last]), make([]byte, 100)...),
		"last frame":   append(bytes.Clone(all[:last]), make([]byte, len(all)-last)...),
		"last sectors": append(bytes.Clone(all[:len(all)/512*512]), make([]byte, len(all)%512)...),
	} {
		t.Run(name, func(t *testing.T) {
			s.write(rollup.File, file)
			noted(t, s.ok(verify.Options{}), "made again")
		})
	}
}
