package population_test

import (
	"io"
	"testing"

	"github.com/caddy-soc2/caddy-soc2/evidence/population"
)

// BenchmarkWrite exports and counts populations; an operation is a record of the
// log.
func BenchmarkWrite(b *testing.B) {
	log := newBench(b)
	log.grow(20_000)
	log.close()
	head := log.head()
	run := func(name string, fn func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for range max(1, b.N/int(head.Head.Size)) {
				if err := fn(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(max(1, b.N/int(head.Head.Size)))/float64(head.Head.Size), "ns/record")
		})
	}
	for _, format := range []string{"csv", "ndjson"} {
		run(format, func() error {
			_, err := population.Write(b.Context(), head, io.Discard, population.Export{Options: population.Options{Population: find(b, "requests")}, Format: format})
			return err
		})
	}
	run("count-one", func() error {
		_, _, err := population.Count(b.Context(), head, []*population.Population{find(b, "requests")}, population.Options{}, true)
		return err
	})
	run("count-all", func() error {
		_, _, err := population.Count(b.Context(), head, population.All(), population.Options{}, true)
		return err
	})
	run("sample", func() error {
		_, _, err := population.Sample(b.Context(), head, population.Options{Population: find(b, "requests")}, 25, "seed")
		return err
	})
}
