package cosignature_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// byHand verifies the cosignatures of one witness with nothing but the standard
// library, as docs/witness.md tells. It implements note.Verifier.
type byHand struct {
	name string
	id   uint32
	key  ed25519.PublicKey
}

func (v byHand) Name() string    { return v.name }
func (v byHand) KeyHash() uint32 { return v.id }

func (v byHand) Verify(text, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	seconds := binary.BigEndian.Uint64(sig)
	return ed25519.Verify(v.key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", seconds, text), sig[8:])
}

// newByHand reads NAME+HASH+KEY.
func newByHand(vkey string) byHand {
	parts := strings.SplitN(vkey, "+", 3)
	id, err := strconv.ParseUint(parts[1], 16, 32)
	if err != nil {
		panic(err)
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 33 || key[0] != 4 {
		panic("not a witness's key")
	}
	return byHand{parts[0], uint32(id), key[1:]}
}

// A cosigned checkpoint is verified without any package of this project.
func Example_byHand() {
	checkpoint, err := os.ReadFile("../checkpoint/testdata/arche2025h1.checkpoint")
	if err != nil {
		panic(err)
	}
	log, err := note.NewVerifier("arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f")
	if err != nil {
		panic(err)
	}
	witness := newByHand("remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2")
	n, err := note.Open(checkpoint, note.VerifierList(log, witness))
	if err != nil {
		panic(err)
	}
	for _, sig := range n.Sigs {
		raw, err := base64.StdEncoding.DecodeString(sig.Base64)
		if err != nil {
			panic(err)
		}
		if sig.Name == witness.name { // key ID, then the time
			fmt.Println(sig.Name, time.Unix(int64(binary.BigEndian.Uint64(raw[4:])), 0).UTC())
		} else {
			fmt.Println(sig.Name)
		}
	}
	// Output:
	// arche2025h1.staging.ct.transparency.dev
	// remora.n621.de 2026-05-23 21:50:24 +0000 UTC
}
