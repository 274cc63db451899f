package cosignature_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/caddy-soc2/caddy-soc2/audit/cosignature"
)

const text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"

// example is the signature line that C2SP tlog-cosignature prints. The
// specification does not give the key, so only its time can be read.
const example = "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA=="

func key(t testing.TB, name string) *cosignature.Key {
	t.Helper()
	k, err := cosignature.NewKey(name)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestTimeOfTheSpecificationsExample(t *testing.T) {
	got, err := cosignature.Time(note.Signature{Base64: example})
	if err != nil || got.Unix() != 1679315147 {
		t.Errorf("%v, %v", got, err)
	}
}

// TestBytesAreThoseOfTheSpecification computes keys, key ID and cosignature
// from the words of C2SP tlog-cosignature and signed-note alone.
func TestBytesAreThoseOfTheSpecification(t *testing.T) {
	seed := sha256.Sum256([]byte("a seed"))
	const name = "witness.example.com/w1"
	private := ed25519.NewKeyFromSeed(seed[:])
	public := private.Public().(ed25519.PublicKey)
	sum := sha256.Sum256([]byte(name + "\n\x04" + string(public)))
	id := hex.EncodeToString(sum[:4])
	b64 := base64.StdEncoding.EncodeToString

	k, err := cosignature.ParseKey("PRIVATE+KEY+" + name + "+" + id + "+" + b64(append([]byte{4}, seed[:]...)))
	if err != nil {
		t.Fatal(err)
	}
	if want := name + "+" + id + "+" + b64(append([]byte{4}, public...)); k.Public() != want {
		t.Errorf("verifier key %s, want %s", k.Public(), want)
	}
	sig := ed25519.Sign(private, []byte("cosignature/v1\ntime 1679315147\n"+text))
	want := text + "\n— " + name + " " + b64(append(append(sum[:4:4], 0, 0, 0, 0, 0x64, 0x18, 0x50, 0xcb), sig...)) + "\n"
	got, err := note.Sign(&note.Note{Text: text}, k.At(time.Unix(1679315147, 999)))
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
	v, err := cosignature.NewVerifier(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := note.Open([]byte(want), note.VerifierList(v)); err != nil || len(n.Sigs) != 1 {
		t.Errorf("%v, %v", n, err)
	}
	if binary.BigEndian.Uint32(sum[:]) != v.KeyHash() || v.Name() != name {
		t.Errorf("%s, %08x", v.Name(), v.KeyHash())
	}
}

func TestKeysRoundTrip(t *testing.T) {
	k := key(t, "w.example/soc2")
	again, err := cosignature.ParseKey(k.Private() + "\n")
	if err != nil || again.Public() != k.Public() || again.Private() != k.Private() || again.Name() != "w.example/soc2" {
		t.Fatal(again, err)
	}
	v, err := cosignature.NewVerifier(k.Public() + "\n")
	if err != nil || v.String() != k.Public() {
		t.Fatal(v, err)
	}
	if key(t, "w.example/soc2").Public() == k.Public() {
		t.Error("two new keys are the same")
	}
}

func TestWrongKeysAreRefused(t *testing.T) {
	k := key(t, "w")
	logPrivate, logPublic, err := note.GenerateKey(rand.Reader, "w")
	if err != nil {
		t.Fatal(err)
	}
	id := strings.Split(k.Public(), "+")[1]
	for name, vkey := range map[string]string{
		"empty":           "",
		"of a log":        logPublic,
		"private":         k.Private(),
		"another name":    "x" + k.Public(),
		"capitals":        "remora.n621.de+DA77ADE7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
		"longer":          k.Public() + "AAAA",
		"without base64":  "w+" + id + "+!",
		"without a key":   "w+" + id + "+",
		"of spaces":       strings.Replace(k.Public(), "w", "w w", 1),
		"control in name": strings.Replace(k.Public(), "w", "w\x01", 1),
	} {
		if v, err := cosignature.NewVerifier(vkey); err == nil {
			t.Errorf("verifier key, %s: accepted %q as %s", name, vkey, v)
		}
	}
	for name, skey := range map[string]string{
		"empty": "", "of a log": logPrivate, "public": k.Public(), "cut": k.Private()[:60],
		"another name": strings.Replace(k.Private(), "+w+", "+x+", 1),
	} {
		_, err := cosignature.ParseKey(skey)
		if err == nil {
			t.Errorf("private key, %s: accepted", name)
		} else if len(skey) > 20 && strings.Contains(err.Error(), skey[len(skey)-20:]) {
			t.Errorf("private key, %s: the error shows it: %v", name, err)
		}
	}
	for _, name := range []string{"", "a b", "a+b", "a\nb", "a\u00a0b", "\xff", "a\x00"} {
		if _, err := cosignature.NewKey(name); err == nil {
			t.Errorf("name %q: accepted", name)
		}
	}
}

func TestFromSignerNeedsEd25519(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cosignature.FromSigner("w", ec); err == nil {
		t.Error("accepted an ECDSA key")
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := cosignature.FromSigner("w", ed)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := k.At(time.Unix(1, 0)).Sign([]byte(text))
	if err != nil || !k.Verifier().Verify([]byte(text), sig) || k.Private() != "" {
		t.Error(err)
	}
}

func TestEveryFlipIsSeen(t *testing.T) {
	k := key(t, "w")
	sig, err := k.At(time.Unix(1679315147, 0)).Sign([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	v := k.Verifier()
	if !v.Verify([]byte(text), sig) {
		t.Fatal("a true cosignature is refused")
	}
	for i := range sig {
		for bit := range 8 {
			bad := bytes.Clone(sig)
			bad[i] ^= 1 << bit
			if v.Verify([]byte(text), bad) {
				t.Fatalf("bit %d of byte %d: not seen", bit, i)
			}
		}
		if v.Verify([]byte(text), sig[:i]) {
			t.Fatalf("cut at %d: not seen", i)
		}
	}
	if v.Verify([]byte(text), append(bytes.Clone(sig), 0)) || v.Verify([]byte(text+"x\n"), sig) || key(t, "w").Verifier().Verify([]byte(text), sig) {
		t.Error("accepted a forgery")
	}
	// A plain Ed25519 signature of the text by the same key is no cosignature.
	_, private, _ := ed25519.GenerateKey(rand.Reader)
	k, err = cosignature.FromSigner("w", private)
	if err != nil {
		t.Fatal(err)
	}
	if k.Verifier().Verify([]byte(text), append(make([]byte, 8), ed25519.Sign(private, []byte(text))...)) {
		t.Error("accepted a signature without domain separation")
	}
}

func TestImpossibleTimesAreRefused(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := cosignature.FromSigner("w", private)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{-1, 0, 253402300800} {
		if _, err := k.At(time.Unix(at, 0)).Sign([]byte(text)); err == nil {
			t.Errorf("cosigned at %d", at)
		}
	}
	for at, number := range map[uint64]string{0: "0", 1 << 63: "9223372036854775808"} {
		sig := ed25519.Sign(private, []byte("cosignature/v1\ntime "+number+"\n"+text))
		raw := append(binary.BigEndian.AppendUint64(nil, at), sig...)
		if k.Verifier().Verify([]byte(text), raw) {
			t.Errorf("accepted the time %s", number)
		}
		if _, err := cosignature.Time(note.Signature{Base64: base64.StdEncoding.EncodeToString(append(make([]byte, 4), raw...))}); err == nil {
			t.Errorf("read the time %s", number)
		}
	}
	for _, bad := range []string{"", "!", "AAAA", example[:len(example)-4]} {
		if _, err := cosignature.Time(note.Signature{Base64: bad}); err == nil {
			t.Errorf("read a time of %q", bad)
		}
	}
}

func FuzzKeys(f *testing.F) {
	k := key(f, "w")
	f.Add(k.Public())
	f.Add(k.Private())
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := cosignature.NewVerifier(s); err == nil && v.String() != strings.TrimSpace(s) {
			t.Errorf("%q read as %s", s, v)
		}
		if k, err := cosignature.ParseKey(s); err == nil && k.Private() != strings.TrimSpace(s) {
			t.Error("a private key has two spellings")
		}
	})
}
