// Package cluster describes machines: devices, what they compute and hold, and
// the links that join them. It says how long an operation and an exchange take
// there.
//
// A [Cluster] is either measured on this machine (galvani profile) or written
// down, as the presets are, for one that is not here.
package cluster
