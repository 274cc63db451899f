package review_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/evidence/review"
)

// BenchmarkMake reviews a segment of 20,000 requests of 1,000 principals.
func BenchmarkMake(b *testing.B) {
	l := newBench(b)
	const n = 20_000
	for i := range n {
		l.add(&audit.Event{
			Start: from.Add(time.Duration(i) * time.Second), ID: audit.NewID(from), Method: "GET", Host: "shop.example.com", Path: "/api/v1/orders/8412", Agent: "Mozilla/5.0",
			ClientIP: "203.0.113.77", User: fmt.Sprint("p", i%1000), AuthMethod: "oidc", AccessPolicy: hashA, Access: audit.Decision{Outcome: "allow", Rule: "r0", Reason: "rule"}, Status: 200,
		})
	}
	dir, g := l.dir(), grants()
	g.Merge()
	o := review.Options{Period: review.Period{From: from, To: to}, Now: func() time.Time { return now }}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := review.Make(context.Background(), dir, g, o); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
}
