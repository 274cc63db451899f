package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-soc2/caddy-soc2/audit"
	"github.com/caddy-soc2/caddy-soc2/happenings/ledger"
)

// reading is a figure of the log.
type reading struct {
	name, help string
	value      func(*audit.Stats) float64
}

var readings = []reading{
	{"log_up", "1 if the log takes records, 0 if it failed or is closed.", func(s *audit.Stats) float64 { return truth(s.Failure == nil) }},
	{"log_records", "Durable records of the log.", func(s *audit.Stats) float64 { return float64(s.Records) }},
	{"log_queued_records", "Records that wait for the disk.", func(s *audit.Stats) float64 { return float64(s.QueuedRecords) }},
	{"log_queued_bytes", "Bytes of the records that wait for the disk.", func(s *audit.Stats) float64 { return float64(s.QueuedBytes) }},
	{"log_queue_capacity_bytes", "Bytes of records that may wait for the disk before requests wait (queue_bytes).", func(s *audit.Stats) float64 { return float64(s.QueueCapacity) }},
	{"log_checkpoint_records", "Records under the newest checkpoint.", func(s *audit.Stats) float64 { return float64(s.Checkpoint) }},
	{"log_checkpoint_timestamp_seconds", "When the newest checkpoint was signed, in seconds since 1970.", func(s *audit.Stats) float64 { return seconds(s.CheckpointTime) }},
	{"log_verified_timestamp_seconds", "When the log last verified itself to the end, in seconds since 1970; 0: never yet.", verifiedAt},
	{"log_verified_problems", "Problems that the last self-verification found.", verifiedProblems},
}

func verifiedAt(s *audit.Stats) float64 {
	if s.Verified == nil {
		return 0
	}
	return seconds(s.Verified.Time)
}

func verifiedProblems(s *audit.Stats) float64 {
	if s.Verified == nil {
		return 0
	}
	return float64(len(s.Verified.Problems))
}

// Log are the families of the audit log. A process without a log shows none of
// them but log_up, which is 0.
func Log() []Family {
	var list []Family
	for _, r := range readings {
		list = append(list, Family{Name: r.name, Help: r.help, Type: prometheus.GaugeValue, Read: func(emit Emit) {
			if s, ok := stats(); ok {
				emit(r.value(&s))
			} else if r.name == "log_up" {
				emit(0)
			}
		}})
	}
	return append(list, Family{
		Name: "log_missed_total", Type: prometheus.CounterValue, Labels: []string{"cause", "what"},
		Help: "What has no record since the log was opened, by cause (failure, stall, exit) and kind (refused, served and late requests, lost records, other records). log.gap records tell the same.",
		Read: missed,
	})
}

func missed(emit Emit) {
	s, ok := stats()
	if !ok {
		return
	}
	for cause, m := range s.Missed {
		emit(float64(m.Refused), cause, "refused")
		emit(float64(m.Served), cause, "served")
		emit(float64(m.Late), cause, "late")
		emit(float64(m.Other), cause, "other")
		emit(float64(s.Lost[cause]), cause, "lost")
	}
}

// stats are the figures of the log that configurations use now.
func stats() (audit.Stats, bool) {
	book := ledger.Current()
	if book == nil {
		return audit.Stats{}, false
	}
	return book.Log().Stats(), true
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / float64(time.Second)
}
