// Package planner chooses plans: it gives the layers of a model prices on a
// cluster under every strategy, has package search find the fastest plan that
// fits, and says what any plan takes and why one was chosen.
//
// A [Source] says what layers do under a strategy, read off the rewritten graph
// of each; the package itself knows no model, and runs nothing.
package planner
