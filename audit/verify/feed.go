package verify

import "github.com/caddy-soc2/caddy-soc2/audit/records"

// feed reads the pieces of a segment ahead, in a goroutine of its own, so that
// one core decompresses while another hashes.
type feed struct {
	pieces chan piece
	free   chan []byte
	quit   chan struct{}
	ended  chan struct{}
	held   []byte // the piece that was handed out last
}

// piece is a part of a segment's frames, or the error that ended the reading.
type piece struct {
	frames []byte
	read   int64 // bytes of the file
	err    error
}

// ahead is how many pieces are read ahead.
const ahead = 2

func newFeed(st *records.Stream) *feed {
	f := &feed{pieces: make(chan piece, ahead), free: make(chan []byte, ahead+2), quit: make(chan struct{}), ended: make(chan struct{})}
	go f.run(st)
	return f
}

func (f *feed) run(st *records.Stream) {
	defer close(f.ended)
	for {
		var buf []byte
		select {
		case buf = <-f.free:
		default:
		}
		before := st.Read()
		frames, err := st.Next(buf[:0])
		select {
		case f.pieces <- piece{frames, st.Read() - before, err}:
		case <-f.quit:
			return
		}
		if err != nil {
			return
		}
	}
}

// next returns the next piece, which is good until next is called again. After
// an error it must not be called.
func (f *feed) next() (piece, error) {
	if f.held != nil {
		f.free <- f.held
		f.held = nil
	}
	p := <-f.pieces
	f.held = p.frames
	return p, p.err
}

// stop ends the reading and waits for it.
func (f *feed) stop() {
	close(f.quit)
	<-f.ended
}
