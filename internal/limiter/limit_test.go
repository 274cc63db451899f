package limiter

import (
	"testing"
	"time"
)

func TestParseLimit(t *testing.T) {
	for s, want := range map[string]Limit{
		"100/1m":   {N: 100, Window: time.Minute},
		"5/s":      {N: 5, Window: time.Second},
		"5/m":      {N: 5, Window: time.Minute},
		"5/h":      {N: 5, Window: time.Hour},
		"5/d":      {N: 5, Window: 24 * time.Hour},
		"5/7d":     {N: 5, Window: 7 * 24 * time.Hour},
		"5/1h30m":  {N: 5, Window: 90 * time.Minute},
		"10MiB/1h": {N: 10 << 20, Window: time.Hour},
		"2kB/1s":   {N: 2000, Window: time.Second},
	} {
		if got, err := ParseLimit(s); err != nil || got != want {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{
		"", "5", "/", "5/", "/s", "0/s", "-1/s", "+1/s", "1.5/s", "5/0s", "5/-1s", "5/0d", "5/367d", "5/1y",
		"99999999999999999999/s", "9223372036854775807/s", "9000000000000GiB/s", "1000000000001/s", "5/9000000h", "5/s/s", " 5/s",
	} {
		if got, err := ParseLimit(s); err == nil {
			t.Errorf("%q was read as %v", s, got)
		}
	}
}

func TestLimitsThatCannotBeHeldAreRefused(t *testing.T) {
	for name, l := range map[string]Limit{
		"none":                    {},
		"no window":               {N: 1},
		"negative":                {N: -1, Window: time.Second},
		"negative burst":          {N: 1, Window: time.Second, Burst: -1},
		"too many a second":       {N: 600_000_000, Window: time.Second},
		"century":                 {N: 1, Window: 366 * 24 * time.Hour, Burst: 101},
		"overflow":                {N: 1, Window: 366 * 24 * time.Hour, Burst: MaxUnits},
		"strict with great burst": {N: 5, Window: time.Second, Burst: 6, Mode: Strict},
		"exact with many":         {N: 65, Window: time.Second, Mode: Exact},
		"exact with burst":        {N: 5, Window: time.Second, Burst: 2, Mode: Exact},
		"mode":                    {N: 5, Window: time.Second, Mode: 9},
	} {
		if _, err := l.Rate(); err == nil {
			t.Errorf("%s: %v was taken", name, l)
		}
	}
}

func FuzzParseLimit(f *testing.F) {
	for _, s := range []string{"100/1m", "5/s", "10MiB/1h", "5/7d", "0/s", "1/1ns"} {
		f.Add(s, int64(0), uint8(0))
	}
	f.Fuzz(func(t *testing.T, s string, burst int64, mode uint8) {
		l, err := ParseLimit(s)
		if err != nil {
			return
		}
		if again, err := ParseLimit(l.String()); err != nil || again != l {
			t.Fatalf("%q is written as %q, which is %v, %v", s, l, again, err)
		}
		l.Burst, l.Mode = burst, Mode(mode)
		r, err := l.Rate()
		if err != nil {
			return
		}
		if r.interval <= 0 || r.tolerance <= 0 || r.tolerance > maxHorizon || r.tolerance/r.interval != r.Units() {
			t.Fatalf("%+v", r)
		}
		now := int64(time.Hour)
		z := zoneOf(t, Config{Rate: r, Capacity: 64}, &now)
		if _, ok := ask(z, now, "k", r.Units()); !ok {
			t.Fatalf("%v does not admit its burst", l)
		}
		if _, ok := ask(z, now, "k", 1); ok {
			t.Fatalf("%v admits more than its burst", l)
		}
	})
}

// TestSipHash holds the hash against vectors of the reference implementation:
// SipHash-2-4 of 00 01 … with the key 00 01 … 0f.
func TestSipHash(t *testing.T) {
	const k0, k1 = 0x0706050403020100, 0x0f0e0d0c0b0a0908
	message := make([]byte, 64)
	for i := range message {
		message[i] = byte(i)
	}
	for n, want := range map[int]uint64{
		0: 0x726fdb47dd0e0e31, 1: 0x74f839c593dc67fd, 7: 0xab0200f58b01d137, 8: 0x93f5f5799a932462,
		15: 0xa129ca6149be45e5, 63: 0x958a324ceb064572,
	} {
		if got := siphash(2, 4, k0, k1, message[:n]); got != want {
			t.Errorf("%d bytes: %x, not %x", n, got, want)
		}
	}
	h := KeyedHasher(message)
	if h.String(string(message)) != h.Bytes(message) || h.Bytes(message) != siphash(1, 3, k0, k1, message) {
		t.Error("a string and its bytes differ")
	}
}
