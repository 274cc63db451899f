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
	Until   int64 // end of the ban to which this refusal led, or 0
	Full    bool  // the zone had no room for the key, or another one lost its state for it

	state *state
	asked int64 // when
	tat   int64 // of the key, after the charge if it was admitted
	left  int64 // mode Exact: what Left, Retry and Next say
	retry int64
	next  int64
	slot  int  // of the key in its bucket while that is locked; -1: none
	held  bool // counted as under way
	spent bool // Cost was charged
}

// Decide asks zones about a request, all of them, and charges either all that
// say yes or, if one of them refuses, none. The zones must be given in the order
// of Before, each once. A request that Decide admits must be settled.
//
// A refusal takes no lock. Otherwise the buckets of the keys are locked, in one
// order for the whole process, while all are asked again and charged.
func Decide(now int64, asks []Ask) bool {
	if len(asks) == 1 {
		return asks[0].decide(now)
	}
	admitted := true
	for i := range asks {
		a := &asks[i]
		a.open(now)
		admitted = admitted && (a.Verdict == Allowed || a.Shadow)
	}
	if admitted {
		admitted = commit(now, asks)
	} else {
		answerAll(now, asks)
	}
	for i := range asks {
		asks[i].conclude(now)
	}
	return admitted
}

// decide is Decide for one zone, as most requests have it.
func (a *Ask) decide(now int64) bool {
	a.open(now)
	switch {
	case a.Verdict == Allowed:
		a.lock()
		if a.ask(now); a.Verdict == Allowed {
			a.charge(now)
		}
		a.unlock()
		a.conclude(now)
	case a.state.bans.ban.After > 0:
		a.conclude(now)
	}
	return a.Verdict == Allowed || a.Shadow
}

// open finds what applies and answers without a lock.
func (a *Ask) open(now int64) {
	st := a.Zone.state.Load()
	a.state, a.asked = st, now
	if a.Rate == nil || st.logs != nil && a.Rate.N > int64(st.logs.size) {
		a.Rate = st.Rate
	}
	a.peek(st, now)
}

// Left is how many units the key can spend after this.
func (a *Ask) Left() int64 {
	switch {
	case a.Rate == nil:
		return 0
	case a.state.logs != nil:
		return a.left
	}
	return a.Rate.left(a.tat, a.asked)
}

// Next is how many nanoseconds it takes until the key can spend one unit more
// than Left; 0: it has all.
func (a *Ask) Next() int64 {
	switch {
	case a.Rate == nil:
		return 0
	case a.state.logs != nil:
		return a.next
	}
	return a.Rate.next(a.tat, a.asked)
}

// Retry is how many nanoseconds it takes until what was refused would not be, or
// Never. 0: that is not known.
func (a *Ask) Retry() int64 {
	switch {
	case a.Verdict == Banned:
		return a.retry
	case a.Verdict != OverRate:
		return 0
	case a.state.logs != nil:
		return a.retry
	}
	return a.Rate.retry(a.tat, a.asked, a.Cost)
}

// Before reports whether z comes before another zone in what Decide gets.
func (z *Zone) Before(other *Zone) bool { return z.id < other.id }

// conclude notes a refusal where it can lead to a ban, and what was forgotten.
func (a *Ask) conclude(now int64) {
	if a.Full {
		a.Zone.lost.Add(1)
	}
	if a.Verdict == OverRate || a.Verdict == OverConcurrency {
		if a.state.bans.ban.After > 0 && !a.Shadow {
			a.Until = a.state.bans.strike(now, a.Hash)
		}
	}
}

// peek answers without a lock.
func (a *Ask) peek(st *state, now int64) {
	if st.bans.any.Load() {
		if until := st.bans.until(a.Hash); until > now {
			a.Verdict, a.retry = Banned, until-now
			return
		}
	}
	if st.table.buckets != nil && st.logs == nil && a.Rate != nil {
		tat, found := st.table.peek(a.Hash)
		if !found {
			tat = now
		}
		a.judge(tat, now)
	}
	if st.inflight != nil && a.Verdict == Allowed {
		if n, _ := st.inflight.peek(a.Hash); n >= st.Concurrency {
			a.Verdict = OverConcurrency
		}
	}
}

// judge answers from a TAT.
func (a *Ask) judge(tat, now int64) {
	var ok bool
	if a.tat, ok = a.Rate.spend(tat, now, a.Cost); ok {
		a.Verdict = Allowed
	} else {
		a.Verdict, a.tat = OverRate, tat
	}
}

// answerAll asks also the zones whose answer needs a lock, for what they have to
// tell of a request that another one refuses.
func answerAll(now int64, asks []Ask) {
	for i := range asks {
		if a := &asks[i]; a.state.logs != nil && a.Verdict == Allowed {
			a.lock()
			a.ask(now)
			a.unlock()
		}
	}
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
	if a.state.table.buckets != nil {
		a.state.table.bucket(a.Hash).lock()
	}
	if a.state.inflight != nil {
		a.state.inflight.bucket(a.Hash).lock()
	}
}

func (a *Ask) unlock() {
	if a.state.table.buckets != nil {
		a.state.table.bucket(a.Hash).unlock()
	}
	if a.state.inflight != nil {
		a.state.inflight.bucket(a.Hash).unlock()
	}
}

// ask answers under the locks. It leaves the TAT to charge in a.tat.
func (a *Ask) ask(now int64) {
	a.Verdict = Allowed
	fp := fingerprint(a.Hash)
	if a.state.table.buckets != nil && a.Rate != nil {
		b, tat := a.state.table.bucket(a.Hash), now
		if a.slot = b.find(fp); a.slot >= 0 {
			tat = b[a.slot].tat.Load()
		}
		if a.state.logs != nil {
			a.askLog(tat, now)
		} else {
			a.judge(tat, now)
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
		ok, a.retry = logs.admits(slot, a.Rate, now, a.Cost)
		left = logs.left(slot, a.Rate, now)
		a.next = max(0, *logs.newest(slot, int(a.Rate.N))+int64(a.Rate.Window)-now)
	} else if !ok {
		a.retry = Never
	}
	if !ok {
		a.Verdict, a.left, a.tat = OverRate, left, tat
		return
	}
	a.left, a.tat = left-a.Cost, max(tat, now)+a.Cost*a.Rate.interval
}

// log is the log of a slot of the key's bucket.
func (a *Ask) log(i int) int { return a.state.table.index(a.Hash)*ways + i }

// charge writes what ask found, under the locks.
func (a *Ask) charge(now int64) {
	if a.state.table.buckets != nil && a.Rate != nil && a.Cost > 0 {
		a.spent = true
		a.store(now, a.tat, a.Cost)
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
	if a.state.table.buckets == nil || a.Rate.Mode == Exact && a.state.logs == nil {
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
}

func (a *Ask) giveBack(b *bucket, now, cost int64) {
	i := b.find(fingerprint(a.Hash))
	if i < 0 {
		return
	}
	b[i].tat.Store(a.Rate.refund(b[i].tat.Load(), now, a.tat, cost))
	if a.state.logs != nil {
		a.state.logs.remove(a.log(i), a.asked, cost)
	}
}
