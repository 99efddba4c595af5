// Package cost prices the layers of a model on a cluster: it makes the costs of a
// [search.Problem] from what the rewritten graph of each candidate does.
package cost
