package limiter

// inflight counts what each key has under way. A slot is freed when its count
// is back at 0, so that the table holds no more keys than there are requests
// under way; none of them is ever evicted.
type inflight struct{ *table }

// acquire counts one more for a key whose bucket is locked. It reports false if
// there is no room for the key.
func (f inflight) acquire(hash uint64) bool {
	b, fp := f.bucket(hash), fingerprint(hash)
	if i := b.find(fp); i >= 0 {
		b[i].tat.Store(b[i].tat.Load() + 1)
		return true
	}
	i, _, free := b.victim()
	if free {
		b.set(i, fp, 1)
	}
	return free
}

// release counts one less.
func (f inflight) release(hash uint64) {
	b := f.bucket(hash)
	b.lock()
	defer b.unlock()
	i := b.find(fingerprint(hash))
	if i < 0 {
		return
	}
	if n := b[i].tat.Load(); n > 1 {
		b[i].tat.Store(n - 1)
	} else {
		b.set(i, 0, 0)
	}
}
