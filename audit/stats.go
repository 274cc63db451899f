package audit

import "time"

// Stats are the figures by which an open log is monitored. The counts begin at
// zero when the log is opened.
type Stats struct {
	Records        int64 // in the log, durable
	QueuedRecords  int   // taken and not yet durable
	QueuedBytes    int   // of them
	QueueCapacity  int   // bytes
	Checkpoint     int64 // records under the newest checkpoint
	CheckpointTime time.Time
	Verified       *LogVerify        // newest self-verification, or nil
	Failure        error             // why no records are taken, or nil
	Missed         map[string]Missed // by cause
	Lost           map[string]int64  // records that were taken and not written, by cause
}

// Stats returns the log's figures.
func (l *Log) Stats() Stats {
	s := Stats{Records: l.Durable(), Verified: l.Scrubbed(), Missed: map[string]Missed{}, Lost: map[string]int64{}}
	_, head, at := l.Checkpoint()
	s.Checkpoint, s.CheckpointTime = head.Size, at
	l.mu.Lock()
	defer l.mu.Unlock()
	s.Failure, s.QueueCapacity = l.err, l.cfg.QueueBytes
	for _, b := range []*batch{l.pending, l.flying} {
		if b != nil {
			s.QueuedRecords += len(b.lengths)
			s.QueuedBytes += len(b.frames)
		}
	}
	for cause, name := range causeNames {
		s.Missed[name], s.Lost[name] = l.missed[cause].Missed, l.missed[cause].lost
	}
	return s
}
