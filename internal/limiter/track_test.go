package limiter

import (
	"sync"
	"testing"
)

func TestTrackerTellsBeginAndEndWithCounts(t *testing.T) {
	woken := 0
	tr := &Tracker{Wake: func() { woken++ }}
	a := Ask{Hash: 42, Verdict: OverRate}
	tr.Allow(42) // not tracked yet
	for i := range int64(5) {
		tr.Refuse(sec+i, &a, func() string { return "alice" })
	}
	tr.Allow(42)
	var begins, ends []Refused
	sweep := func(now int64) {
		tr.Sweep(now, sec, func(r Refused) { begins = append(begins, r) }, func(Refused) { t.Error("a ban") }, func(r Refused) { ends = append(ends, r) })
	}
	sweep(sec)
	sweep(sec + 10)
	if len(begins) != 1 || len(ends) != 0 || woken != 1 || begins[0].Name != "alice" {
		t.Fatal(begins, ends, woken)
	}
	sweep(3 * sec)
	want := Refused{Hash: 42, Name: "alice", Verdict: OverRate, From: sec, Last: sec + 4, Refused: 5, Allowed: 1}
	if len(ends) != 1 || ends[0] != want || tr.Active() {
		t.Fatalf("%+v", ends)
	}
}

func TestTrackerCountsKeysWithoutRoomTogether(t *testing.T) {
	tr := &Tracker{Wake: func() {}}
	const keys = 100_000
	var group sync.WaitGroup
	for g := range 4 {
		group.Go(func() {
			for i := range keys / 4 {
				h := fingerprint(uint64(g*keys+i+1) * 0x9e3779b97f4a7c15)
				tr.Refuse(sec, &Ask{Hash: h, Verdict: OverRate}, nil)
			}
		})
	}
	group.Wait()
	begun, refused := 0, int64(0)
	tr.Sweep(3*sec, sec, func(Refused) { begun++ }, nil, func(r Refused) { refused += r.Refused })
	if begun > MaxTracked || begun < MaxTracked*9/10 || refused != keys || tr.Active() {
		t.Errorf("%d keys tracked, %d refusals told of %d, active is %v", begun, refused, keys, tr.Active())
	}
}
