package comm

import "time"

// lease measures how long a process has been silent. It counts only time during
// which this process ran: where ticks come late because this machine was
// suspended or busy, the silence is this process's own, not the other's.
type lease struct {
	limit  time.Duration
	beat   time.Duration // between ticks and between heartbeats
	silent time.Duration // since the last heartbeat
}

// renew notes a heartbeat.
func (l *lease) renew() { l.silent = 0 }

// tick notes that elapsed time has passed and reports whether the lease holds.
func (l *lease) tick(elapsed time.Duration) bool {
	l.silent += min(elapsed, 2*l.beat)
	return l.silent <= l.limit
}

// Leases are the timings by which coordinator and workers watch each other. The
// zero value is good: heartbeats each 250 ms, a lease of 2 s.
type Leases struct {
	Beat  time.Duration // between heartbeats
	Limit time.Duration // silence after which a process counts as lost
}

// minBeat is the shortest time between heartbeats.
const minBeat = time.Millisecond

func (l Leases) withDefaults() Leases {
	if l.Beat <= 0 {
		l.Beat = 250 * time.Millisecond
	}
	if l.Limit <= 0 {
		l.Limit = 8 * l.Beat
	}
	return l
}

func (l Leases) lease() lease { return lease{limit: l.Limit, beat: l.Beat} }
