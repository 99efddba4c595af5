//go:build race

package data

// raceEnabled says that sync.Pool drops items at random, so that reuse cannot be counted on.
const raceEnabled = true
