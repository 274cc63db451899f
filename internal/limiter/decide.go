package limiter

// Verdict is what a zone says of a request.
type Verdict uint8

// The verdicts.
const (
	Allowed         Verdict = iota
	OverRate                // the key has not enough units left
	OverConcurrency         // the key has as many requests under way as it may
	Banned                  // the key is shut out
)

var verdictNames = [...]string{"allowed", "quota", "concurrency", "ban"}

// String is the verdict's name.
func (v Verdict) String() string { return verdictNames[v] }

// Ask asks one zone about a request, and has its answer.
type Ask struct {
	Zone   *Zone
	Hash   uint64 // of the key, by the zone's Hasher
	Cost   int64  // units; 0 asks whether one is left, and takes none
	Rate   *Rate  // in place of the zone's; nil: the zone's. Of the same mode.
	Shadow bool   // its refusal does not refuse the request

	Verdict Verdict
	Left    int64 // units that the key can spend after this
	Retry   int64 // refused: ns until it would not be, or Never; 0: not known
	Next    int64 // ns until the key can spend one more than Left; 0: it has all
	Until   int64 // end of the ban to which this refusal led, or 0
	Full    bool  // the zone had no room for the key, or another one lost its state for it

	state   *state
	charged int64 // TAT after the charge
	at      int64 // when it was charged
	slot    int   // of the key in its bucket while that is locked; -1: none
	held    bool  // counted as under way
	spent   bool  // Cost was charged
}

// Decide asks zones about a request, all of them, and charges either all that
// say yes or, if one of them refuses, none. The zones must be given in the order
// of Before, each once. A request that Decide admits must be settled.
//
// A refusal takes no lock. Otherwise the buckets of the keys are locked, in one
// order for the whole process, while all are asked again and charged.
func Decide(now int64, asks []Ask) bool {
	admitted := true
	for i := range asks {
		a := &asks[i]
		a.state = a.Zone.state.Load()
		if logs := a.state.logs; a.Rate == nil || logs != nil && a.Rate.N > int64(logs.size) {
			a.Rate = a.state.Rate
		}
		a.peek(now)
		admitted = admitted && (a.Verdict == Allowed || a.Shadow)
	}
	if admitted {
		admitted = commit(now, asks)
	}
	for i := range asks {
		asks[i].conclude(now)
	}
	return admitted
}

// Before reports whether z comes before another zone in what Decide gets.
func (z *Zone) Before(other *Zone) bool { return z.id < other.id }

// conclude notes a refusal where it can lead to a ban, and what was forgotten.
func (a *Ask) conclude(now int64) {
	if a.Full {
		a.Zone.lost.Add(1)
	}
	if a.Verdict == OverRate || a.Verdict == OverConcurrency {
		if a.state.Ban.After > 0 && !a.Shadow {
			a.Until = a.state.bans.strike(now, a.Hash)
		}
	}
}

// peek answers without a lock.
func (a *Ask) peek(now int64) {
	if until := a.state.bans.until(a.Hash); until > now {
		a.Verdict, a.Retry = Banned, until-now
		return
	}
	if a.Rate != nil && a.state.table != nil && a.state.logs == nil {
		tat, found := a.state.table.peek(a.Hash)
		if !found {
			tat = now
		}
		a.judge(tat, now)
	}
	if a.Verdict == Allowed && a.state.inflight != nil {
		if n, _ := a.state.inflight.peek(a.Hash); n >= a.state.Concurrency {
			a.Verdict = OverConcurrency
		}
	}
}

// judge answers from a TAT.
func (a *Ask) judge(tat, now int64) (next int64) {
	next, ok := a.Rate.spend(tat, now, a.Cost)
	if !ok {
		a.Verdict, a.Retry, next = OverRate, a.Rate.retry(tat, now, a.Cost), tat
	} else {
		a.Verdict = Allowed
	}
	a.Left, a.Next = a.Rate.left(next, now), a.Rate.next(next, now)
	return next
}

// commit asks again, with the buckets locked, and charges all or none.
func commit(now int64, asks []Ask) bool {
	for i := range asks {
		asks[i].lock()
	}
	admitted := true
	for i := range asks {
		if a := &asks[i]; a.Verdict != Banned { // a shadow zone's ban refuses nothing
			a.ask(now)
			admitted = admitted && (a.Verdict == Allowed || a.Shadow)
		}
	}
	for i := range asks {
		if a := &asks[i]; admitted && a.Verdict == Allowed {
			a.charge(now)
		}
	}
	for i := range asks {
		asks[i].unlock()
	}
	return admitted
}

// lock takes the key's bucket of each of the zone's tables.
func (a *Ask) lock() {
	if a.state.table != nil {
		a.state.table.bucket(a.Hash).lock()
	}
	if a.state.inflight != nil {
		a.state.inflight.bucket(a.Hash).lock()
	}
}

func (a *Ask) unlock() {
	if a.state.table != nil {
		a.state.table.bucket(a.Hash).unlock()
	}
	if a.state.inflight != nil {
		a.state.inflight.bucket(a.Hash).unlock()
	}
}

// ask answers under the locks. It leaves the TAT to charge in a.charged.
func (a *Ask) ask(now int64) {
	a.Verdict = Allowed
	fp := fingerprint(a.Hash)
	if a.state.table != nil && a.Rate != nil {
		b, tat := a.state.table.bucket(a.Hash), now
		if a.slot = b.find(fp); a.slot >= 0 {
			tat = b[a.slot].tat.Load()
		}
		if a.state.logs != nil {
			a.askLog(tat, now)
		} else {
			a.charged = a.judge(tat, now)
		}
	}
	if a.Verdict == Allowed && a.state.inflight != nil {
		b := a.state.inflight.bucket(a.Hash)
		if i := b.find(fp); i >= 0 && b[i].tat.Load() >= a.state.Concurrency {
			a.Verdict = OverConcurrency
		}
	}
}

// askLog answers from the key's log. The TAT only says which keys have most to
// lose.
func (a *Ask) askLog(tat, now int64) {
	ok, left := a.Cost <= a.Rate.N, a.Rate.N
	if a.slot >= 0 {
		logs, slot := a.state.logs, a.log(a.slot)
		ok, a.Retry = logs.admits(slot, a.Rate, now, a.Cost)
		left = logs.left(slot, a.Rate, now)
		a.Next = max(0, *logs.newest(slot, int(a.Rate.N))+int64(a.Rate.Window)-now)
	} else if !ok {
		a.Retry = Never
	}
	if !ok {
		a.Verdict, a.Left = OverRate, left
		return
	}
	a.Left, a.charged = left-a.Cost, max(tat, now)+a.Cost*a.Rate.interval
}

// log is the log of a slot of the key's bucket.
func (a *Ask) log(i int) int { return a.state.table.index(a.Hash)*ways + i }

// charge writes what ask found, under the locks.
func (a *Ask) charge(now int64) {
	if a.state.table != nil && a.Rate != nil && a.Cost > 0 {
		a.spent, a.at = true, now
		a.store(now, a.charged, a.Cost)
	}
	if a.state.inflight != nil {
		a.held = a.state.inflight.acquire(a.Hash)
		a.Full = a.Full || !a.held
	}
}

// store writes a key's TAT, and its log, under the lock.
func (a *Ask) store(now, tat, cost int64) {
	b := a.state.table.bucket(a.Hash)
	if a.slot >= 0 {
		b[a.slot].tat.Store(tat)
	} else {
		a.slot, a.Full = b.claim(fingerprint(a.Hash), now-a.state.grace, tat)
		if a.slot >= 0 && a.state.logs != nil {
			a.state.logs.reset(a.log(a.slot))
		}
	}
	if a.slot >= 0 && a.state.logs != nil {
		a.state.logs.add(a.log(a.slot), now, cost)
	}
}

// Release ends a request that Decide admitted: it is no longer under way. The
// state of a.Zone may have been replaced in between.
func (a *Ask) Release() {
	if !a.held {
		return
	}
	a.held = false
	if st := a.Zone.state.Load(); st.inflight != nil {
		st.inflight.release(a.Hash)
	}
}

// Settle charges a request that Decide admitted with what it turned out to cost
// in place of Cost. If that is more the key goes into debt, which is bounded;
// if it is less it gets back what has not come back by itself.
func (a *Ask) Settle(now, cost int64) {
	if a.Verdict != Allowed || a.Rate == nil || cost == a.Cost {
		return
	}
	a.state = a.Zone.state.Load()
	if a.state.table == nil || a.Rate.Mode == Exact && a.state.logs == nil {
		return // the zone became another one
	}
	a.Full = false
	b := a.state.table.bucket(a.Hash)
	b.lock()
	if cost > a.Cost {
		a.owe(b, now, cost-a.Cost)
	} else if a.spent {
		a.giveBack(b, now, a.Cost-cost)
	}
	b.unlock()
	if a.Full {
		a.Zone.lost.Add(1)
	}
}

func (a *Ask) owe(b *bucket, now, cost int64) {
	tat := now
	if a.slot = b.find(fingerprint(a.Hash)); a.slot >= 0 {
		tat = b[a.slot].tat.Load()
	}
	tat = a.Rate.owe(tat, now, cost, a.state.Debt)
	a.store(now, tat, cost)
	a.Left, a.Next = a.Rate.left(tat, now), a.Rate.next(tat, now)
}

func (a *Ask) giveBack(b *bucket, now, cost int64) {
	i := b.find(fingerprint(a.Hash))
	if i < 0 {
		return
	}
	b[i].tat.Store(a.Rate.refund(b[i].tat.Load(), now, a.charged, cost))
	if a.state.logs != nil {
		a.state.logs.remove(a.log(i), a.at, cost)
	}
	a.Left = min(a.Left+cost, a.Rate.burst)
}
