package pack

// Span is a part of the period in which a check had one result.
type Span struct {
	State string // pass, fail, warn, not_applicable, unknown
	From  string // as records hold times
	To    string // first moment after it
	NS    int64
	By    *Cause // the record that began it; nil if none did
}

// Minutes is how long the span lasted, with three decimals, cut, as the figures
// of a report have it.
func (s *Span) Minutes() string { return minutes(s.NS) }

// Cause is the record that began a span: one of the check's result, or one that
// says that nobody made checks from then on.
type Cause struct {
	Seq       int64
	Kind      string // of the record
	Trigger   string // what made the check run
	Summary   string
	Severity  string
	Exception string
}

// Follow returns an account that computes the figures of one check alone, and
// tells fn each span of the period in order: together they are the period. The
// figures of the check are those that the account of a pack has.
func Follow(l *Log, p Period, check string, fn func(*Span) error) *Account {
	a := NewAccount(l, p, nil)
	a.selectors, a.Populations = nil, map[string]Count{}
	a.spans = &spans{check: check, fn: fn}
	return a
}

// spans puts what a track counts together to spans.
type spans struct {
	check string
	fn    func(*Span) error
	last  *Span
}

// add takes a part of a span. Results are recorded once a day though they are the
// same, which begins no span.
func (s *spans) add(next Span) error {
	if l := s.last; l != nil && l.State == next.State {
		l.To = next.To
		l.NS += next.NS
		return nil
	}
	if err := s.end(); err != nil {
		return err
	}
	s.last = &next
	return nil
}

func (s *spans) end() error {
	if s.last == nil {
		return nil
	}
	last := s.last
	s.last = nil
	return s.fn(last)
}

// ended tells the spans, when the clock can take none back, and the whole period if no record is about the
// check.
func (s *spans) ended(a *Account) error {
	for id := range a.Checks { // the one that is followed
		for _, part := range a.checks[id].spans {
			if err := s.add(part); err != nil {
				return err
			}
		}
	}
	if len(a.Checks) == 0 {
		x, err := nanos(a.from)
		if err != nil {
			return err
		}
		y, err := nanos(a.to)
		if err != nil {
			return err
		}
		s.last = &Span{State: unknown, From: a.from, To: a.to, NS: y - x}
	}
	return s.end()
}
