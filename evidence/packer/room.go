package packer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/caddy-soc2/caddy-soc2/internal/durable"
)

// Reserve is Options.Reserve of who makes packs beside a log that is written.
const Reserve = 256 << 20

// ErrRoom means that a pack would leave too little room on the disk.
var ErrRoom = errors.New("there is too little room on the disk")

// lookEvery is how many bytes are written between two looks at the disk.
const lookEvery = 16 << 20

// room is what is left of the disk that a pack is written to.
type room struct {
	ctx     context.Context //nolint:containedctx // of the pack that is made
	dir     string
	reserve int64
	unseen  int64 // bytes that may be written until the next look
	free    func(dir string) int64
}

func newRoom(ctx context.Context, opt *Options) *room {
	return &room{ctx: ctx, dir: opt.Temp, reserve: opt.Reserve, free: durable.Free}
}

// take takes room for some bytes, and reports that there is none, or that nobody
// wants the pack any more.
func (r *room) take(n int) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if r.unseen -= int64(n); r.reserve <= 0 || r.unseen > 0 {
		return nil
	}
	r.unseen = lookEvery
	if free := r.free(r.dir); free >= 0 && free < r.reserve+lookEvery {
		return fmt.Errorf("%w: %d MiB are free in %s, and the log is left %d MiB: make room, ask for a shorter period, or for a pack that is not full", ErrRoom, free>>20, r.dir, r.reserve>>20)
	}
	return nil
}

// within is a writer that takes room.
type within struct {
	room *room
	w    io.Writer
}

// Write implements io.Writer.
func (w within) Write(b []byte) (int, error) {
	if err := w.room.take(len(b)); err != nil {
		return 0, err
	}
	return w.w.Write(b)
}
