package faulty

import (
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// Loss says what of that which was not synced a power cut takes, each as a
// probability from 0, nothing, to 1, all.
type Loss struct {
	Data  float64 // of writes and cuts
	Names float64 // of new, removed and replaced names
}

// The two ends: what a kill of the process leaves, and what a disk leaves that
// wrote nothing before it had to.
var (
	Nothing    = Loss{}
	Everything = Loss{Data: 1, Names: 1}
)

// RandomLoss returns one of all kinds, the extremes of either more often than
// chance would give them.
func RandomLoss(r *rand.Rand) Loss {
	some := func() float64 { return []float64{0, 0.1, 0.5, 0.9, 1}[r.IntN(5)] }
	return Loss{some(), some()}
}

// sector is what a disk writes as a whole.
const sector = 512

// Cut makes in the directory to, which must be empty, what a power cut at a
// moment of the journal leaves of the disk's directory.
func (d *Disk) Cut(moment int, loss Loss, r *rand.Rand, to string) error {
	d.mu.Lock()
	journal := d.journal[:moment]
	d.mu.Unlock()
	s := platter{files: map[*node][]byte{}, dirs: map[string]map[string]*node{}, r: r}
	data, names := map[*node][]event{}, map[string][]event{}
	for _, e := range journal {
		switch e.kind {
		case wrote, cut:
			data[e.node] = append(data[e.node], e)
		case named:
			names[e.dir] = append(names[e.dir], e)
		case synced:
			s.write(data[e.node], 0)
			delete(data, e.node)
		case syncedDir:
			s.name(names[e.dir], 0)
			delete(names, e.dir)
		}
	}
	for _, e := range journal { // in the journal's order, so that a seed repeats
		s.write(data[e.node], loss.Data)
		delete(data, e.node)
		s.name(names[e.dir], loss.Names)
		delete(names, e.dir)
	}
	return s.save(".", to)
}

// platter is what is on the disk.
type platter struct {
	files map[*node][]byte
	dirs  map[string]map[string]*node
	r     *rand.Rand
}

// lose decides by a probability.
func (s *platter) lose(p float64) bool { return p >= 1 || p > 0 && s.r.Float64() < p }

// name applies changes of the names in a directory.
func (s *platter) name(events []event, loss float64) {
	for _, e := range events {
		if s.lose(loss) {
			continue
		}
		if s.dirs[e.dir] == nil {
			s.dirs[e.dir] = map[string]*node{}
		}
		if e.gone != "" {
			delete(s.dirs[e.dir], e.gone)
		}
		if e.name != "" {
			s.dirs[e.dir][e.name] = e.node
		}
	}
}

// write applies writes to a file, each sector of them or not.
func (s *platter) write(events []event, loss float64) {
	for _, e := range events {
		b := s.files[e.node]
		switch {
		case e.kind == cut:
			if !s.lose(loss) {
				b = resize(b, e.off)
			}
		case loss == 0:
			b = put(b, e.off, e.size, e.data)
		default:
			b = s.tear(b, e, loss)
		}
		s.files[e.node] = b
	}
}

// tear applies some sectors of a write. The file ends with the last of them:
// no file system in wide use gives a file its new size before the bytes.
func (s *platter) tear(b []byte, e event, loss float64) []byte {
	end := e.off + e.size
	for at := e.off; at < end; {
		next := min(end, at-at%sector+sector)
		if e.data == nil { // zeros: one decision is enough
			next = end
		}
		if !s.lose(loss) {
			var part []byte
			if e.data != nil {
				part = e.data[at-e.off : next-e.off]
			}
			b = put(b, at, next-at, part)
		}
		at = next
	}
	return b
}

// put writes data, or zeros, to b at off.
func put(b []byte, off, size int64, data []byte) []byte {
	if size == 0 {
		return b
	}
	b = resize(b, max(int64(len(b)), off+size))
	if data == nil {
		clear(b[off : off+size])
	}
	copy(b[off:], data)
	return b
}

func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size:size]
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}

// save writes a directory and all that it leads to.
func (s *platter) save(dir, to string) error {
	for name, n := range s.dirs[dir] {
		path, target := filepath.Join(dir, name), filepath.Join(to, name)
		if n.dir {
			if err := os.MkdirAll(target, durable.DirMode); err != nil {
				return err
			}
			if err := s.save(path, target); err != nil {
				return err
			}
			continue
		}
		if err := os.WriteFile(target, s.files[n], durable.FileMode); err != nil {
			return err
		}
	}
	return nil
}
