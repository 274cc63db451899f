package personal

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Handle returns what stands for a subject in the record of its erasure. It is
// the same whenever it is asked for, and joins with nothing else in the log.
// Who knows the subject, and may ask the server, can find the record by it. It
// is empty if there never were subject keys.
func (s *Sealer) Handle(subject string) string {
	s.mu.Lock()
	index := s.index
	s.mu.Unlock()
	if index == nil {
		return ""
	}
	h := keyedText(index, "handle\x00"+subject)
	return "s:" + string(h[:])
}

// Forget destroys the keys of a subject, of all days. From then on nobody can
// open the boxes that were sealed under them. The log still verifies, for it
// covers the boxes.
//
// A subject that comes back gets a new key. What was sealed while there were no
// subject keys, or too many (Overflow), is not reached. If an error comes back
// the erasure says what was destroyed by then, and Forget can be repeated.
func (s *Sealer) Forget(subject string) (Erasure, error) {
	e := Erasure{What: ErasedSubject}
	if subject == "" {
		return e, errors.New("forgetting: no subject")
	}
	s.erasing.Lock()
	defer s.erasing.Unlock()
	if err := s.open(); err != nil {
		return e, fmt.Errorf("forgetting: %w", err)
	}
	if s.index == nil {
		return e, errors.New("forgetting: no record was ever sealed with subject keys, so there is no key to destroy")
	}
	e.Subject = s.Handle(subject)
	ids, err := s.withSuffix(subjectsSuffix)
	if err != nil {
		return e, err
	}
	if s.hold != nil {
		if err := s.mayForget(ids, subject); err != nil {
			return e, fmt.Errorf("forgetting: %w", err)
		}
	}
	var errs []error
	for _, id := range ids {
		n, err := s.forgetIn(id, subject)
		if n > 0 {
			e.Keys += n
			e.Files++
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("forgetting: %w", err))
		}
	}
	return e, errors.Join(errs...)
}

func (s *Sealer) open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	return nil
}

func (s *Sealer) forgetIn(id, subject string) (int, error) {
	if k := s.current.Load(); k != nil && k.id == id && k.subjects != nil {
		n, err := k.subjects.forget(subject)
		if err != nil {
			s.replace(k)
		}
		if !errors.Is(err, errRetired) {
			return n, err
		}
	}
	return forgetInFile(s.fs, filepath.Join(s.dir, id+subjectsSuffix), id, subjectHash(s.index, id, subject))
}

// mayForget asks about holds for each day on which the subject has a key, before
// anything is destroyed.
func (s *Sealer) mayForget(ids []string, subject string) error {
	for _, id := range ids {
		day, err := parseKeyID(id)
		if err != nil {
			return err
		}
		held := s.hold(day, day.AddDate(0, 0, 1))
		if held == nil {
			continue
		}
		b, err := s.fs.ReadFile(filepath.Join(s.dir, id+subjectsSuffix))
		if err != nil {
			return fmt.Errorf("reading subject keys: %w", err)
		}
		if _, n, err := strike(b, id, subjectHash(s.index, id, subject)); n > 0 || err != nil {
			return errors.Join(held, err)
		}
	}
	return nil
}

// Destroy destroys the keys of a day (as in 2026-11-21) that is over: the data
// keys of all runs on it, and with them the subjects'. From then on nobody can
// open a box that was sealed on that day. It can be repeated after an error.
func (s *Sealer) Destroy(day string) (Erasure, error) {
	e := Erasure{What: ErasedPeriod, Period: day}
	from, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return e, fmt.Errorf("%w: %q is no day: write it as 2026-11-21", ErrPeriod, day)
	}
	if dayOf(from) >= dayOf(s.now()) {
		return e, fmt.Errorf("%w: day %s is not over: its key is in use", ErrPeriod, day)
	}
	s.erasing.Lock()
	defer s.erasing.Unlock()
	if err := s.leave(from); err != nil {
		return e, err
	}
	if s.hold != nil {
		if err := s.hold(from, from.AddDate(0, 0, 1)); err != nil {
			return e, fmt.Errorf("destroying the keys of %s: %w", day, err)
		}
	}
	var ids []string
	for _, suffix := range []string{ageSuffix, destroyedSuffix} {
		list, err := s.withSuffix(suffix)
		if err != nil {
			return e, err
		}
		ids = append(ids, list...)
	}
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		if !strings.HasPrefix(id, day+"-") {
			continue
		}
		n, err := destroy(s.fs, s.dir, id, s.now())
		if err != nil {
			return e, fmt.Errorf("destroying the keys of %s: %w", day, err)
		}
		e.Keys++
		e.Files += n
	}
	if e.Keys == 0 {
		return e, fmt.Errorf("keys of %s: %w", day, ErrNoKey)
	}
	return e, nil
}

// leave retires the current key if it is of a day that is to be destroyed.
func (s *Sealer) leave(day time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("destroying keys: %w", ErrClosed)
	}
	if k := s.current.Load(); k != nil && k.day == dayOf(day) {
		s.retire()
	}
	return nil
}

// Days lists the days whose keys exist, from the oldest on.
func (s *Sealer) Days() ([]string, error) {
	ids, err := s.withSuffix(ageSuffix)
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		ids[i] = id[:len(time.DateOnly)]
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// withSuffix lists the data keys that have a file of a kind.
func (s *Sealer) withSuffix(suffix string) ([]string, error) {
	entries, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", s.dir, err)
	}
	var ids []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), suffix); ok {
			if _, err := parseKeyID(id); err == nil {
				ids = append(ids, id)
			}
		}
	}
	return ids, nil
}
