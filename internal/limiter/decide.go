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
	Later  bool   // Cost is only set aside; Settle charges what it turned out to be

	Verdict Verdict
	Until   int64 // end of the ban to which this refusal led, or 0
	Full    bool  // the zone had no room for the key, or another one lost its state for it

	state *state
	asked int64 // when
	tat   int64 // of the key, after the charge if it was admitted, with what is set aside
	ahead int64 // how much of that is for what is set aside
	left  int64 // mode Exact: what Left, Retry and Next say
	retry int64
	next  int64
	slot  int       // of the key in its bucket while that is locked; -1: none
	held  *inflight // where the request counts as under way
	aside *inflight // where Cost is set aside
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
		if !admitted {
			asks[i].undo()
		}
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
	case a.Until != 0: // this refusal is the one that led to a ban
		return a.Until - a.asked
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
			a.Until = a.state.bans.strike(now, a.Hash, &a.Zone.lost)
		}
	}
}

// undo makes Left and Next those of a request that was not charged, because
// another zone refused it.
func (a *Ask) undo() {
	if a.Verdict == Allowed && a.Rate != nil {
		a.tat -= a.Cost * a.Rate.interval
		if a.left += a.Cost; a.left == a.Rate.N {
			a.next = 0
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
	if a.Verdict == Allowed && st.inflight != nil && st.inflight.count(a.Hash) >= st.Concurrency {
		a.Verdict = OverConcurrency
	}
}

// judge answers from a TAT.
func (a *Ask) judge(tat, now int64) {
	aside := int64(0)
	if a.state.aside != nil {
		aside = a.state.aside.count(a.Hash)
	}
	var ok bool
	if a.tat, ok = a.Rate.spend(tat, now, a.Cost, aside); ok {
		a.Verdict, a.ahead = Allowed, aside*a.Rate.interval
	} else {
		a.Verdict = OverRate
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
	if a.state.aside != nil {
		a.state.aside.bucket(a.Hash).lock()
	}
}

func (a *Ask) unlock() {
	if a.state.table.buckets != nil {
		a.state.table.bucket(a.Hash).unlock()
	}
	if a.state.inflight != nil {
		a.state.inflight.bucket(a.Hash).unlock()
	}
	if a.state.aside != nil {
		a.state.aside.bucket(a.Hash).unlock()
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
	if a.Verdict == Allowed && a.state.inflight != nil && a.state.inflight.count(a.Hash) >= a.state.Concurrency {
		a.Verdict = OverConcurrency
	}
}

// askLog answers from the key's log. The TAT only says which keys have most to
// lose.
func (a *Ask) askLog(tat, now int64) {
	ok, left, aside := a.Cost <= a.Rate.N, a.Rate.N, a.state.aside.count(a.Hash)
	a.retry, a.next = 0, 0
	switch {
	case a.slot >= 0:
		ok, a.retry = a.state.logs.admits(a.log(a.slot), a.Rate, now, a.Cost, aside)
		left, a.next = a.state.logs.left(a.log(a.slot), a.Rate, now)
	case !ok:
		a.retry = Never
	default:
		ok = max(a.Cost, 1)+aside <= a.Rate.N
	}
	left = max(0, left-aside)
	if !ok {
		a.Verdict, a.left, a.tat = OverRate, left, tat
		return
	}
	if a.Cost > 0 && a.next == 0 {
		a.next = int64(a.Rate.Window)
	}
	a.left, a.tat = left-a.Cost, max(tat, now)+a.Cost*a.Rate.interval
}

// log is the log of a slot of the key's bucket.
func (a *Ask) log(i int) int { return a.state.table.index(a.Hash)*ways + i }

// charge writes what ask found, under the locks.
func (a *Ask) charge(now int64) {
	if a.state.table.buckets != nil && a.Rate != nil && a.Cost > 0 {
		if a.Later && a.state.aside != nil && a.state.aside.add(a.Hash, a.Cost) {
			a.aside = a.state.aside
		} else {
			a.store(now, a.tat-a.ahead, a.Cost)
		}
	}
	if a.state.inflight != nil {
		if a.state.inflight.add(a.Hash, 1) {
			a.held = a.state.inflight
		} else {
			a.Full = true
		}
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

// Release ends a request that Decide admitted: it is no longer under way.
func (a *Ask) Release() {
	a.held.release(a.Hash, 1)
	a.held = nil
}

// Settle charges a request that Decide admitted with what it turned out to cost
// in place of Cost. What was set aside is so no longer. If the cost is more
// than the key has left it goes into debt, which is bounded. What was charged
// already is not given back.
func (a *Ask) Settle(now, cost int64) {
	if a.Verdict != Allowed || a.Rate == nil {
		return
	}
	due := cost
	if a.aside == nil {
		due -= a.Cost
	}
	if due > 0 {
		a.owe(now, due)
	}
	// Only now, so that nobody spends what is set aside in between.
	a.aside.release(a.Hash, a.Cost)
	a.aside = nil
}

// owe charges a cost in any case. The zone's limit may have changed since the
// request was admitted.
func (a *Ask) owe(now, cost int64) {
	st := a.Zone.state.Load()
	if st.table.buckets == nil {
		return
	}
	if st != a.state && (a.Rate == a.state.Rate || a.Rate.Mode != st.Rate.Mode) {
		a.Rate = st.Rate
	}
	a.state, a.Full = st, false
	b, tat := st.table.bucket(a.Hash), now
	b.lock()
	if a.slot = b.find(fingerprint(a.Hash)); a.slot >= 0 {
		tat = b[a.slot].tat.Load()
	}
	a.store(now, a.Rate.owe(tat, now, cost, st.Debt), cost)
	b.unlock()
	if a.Full {
		a.Zone.lost.Add(1)
	}
}
