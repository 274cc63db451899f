package packer

import (
	"bytes"
	"context"
	"errors"
	"testing"
)

// TestAPackLeavesRoomOnTheDisk writes until what is to be left is reached, and
// when nobody wants the pack any more.
func TestAPackLeavesRoomOnTheDisk(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	free, chunk := int64(5*lookEvery), make([]byte, lookEvery/4)
	r := newRoom(ctx, &Options{Reserve: lookEvery})
	var out bytes.Buffer
	r.free = func(string) int64 { return free - int64(out.Len()) }
	var err error
	for err == nil && int64(out.Len()) < 2*free {
		_, err = within{r, &out}.Write(chunk)
	}
	if left := free - int64(out.Len()); !errors.Is(err, ErrRoom) || left < lookEvery || left > 3*lookEvery {
		t.Errorf("%d bytes are left: %v", left, err)
	}
	cancel()
	if _, err := (within{r, &out}).Write(chunk); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody wants it: %v", err)
	}
}
