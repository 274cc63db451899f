package limiter

import (
	"testing"
	"time"
)

func BenchmarkDecide(b *testing.B) {
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = "10.0." + key(i)
	}
	for _, c := range []struct {
		name string
		l    Limit
		keys int
	}{
		{"1k keys mostly refused", Limit{N: 100, Window: time.Minute}, 1000},
		{"1k keys admitted", Limit{N: 1_000_000_000, Window: time.Second}, 1000},
		{"1 key admitted", Limit{N: 1_000_000_000, Window: time.Second}, 1},
		{"1k keys exact", Limit{N: 10, Window: time.Minute, Mode: Exact}, 1000},
	} {
		b.Run(c.name, func(b *testing.B) {
			z, err := NewZone(Config{Rate: mustRate(b, c.l)}, NewHasher(), nil)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				var asks [1]Ask
				for i := 0; pb.Next(); i++ {
					asks[0] = Ask{Zone: z, Hash: z.Hasher.String(keys[i%c.keys]), Cost: 1}
					Decide(Now(), asks[:])
				}
			})
		})
	}
}
