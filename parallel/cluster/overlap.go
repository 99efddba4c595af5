package cluster

// Overlapped is the seconds that computation and communication take when they
// run side by side, each k times slower while both run (k below 1 counts as 1).
// It is Galvatron's rule: the shorter one takes k times its time, and by then the
// longer one has done as much, and does its rest alone.
func Overlapped(compute, communication, k float64) float64 {
	return max(compute, communication) + (max(1, k)-1)*min(compute, communication)
}
