// Package cluster describes machines: devices, what they compute and hold, and
// the links that join them. It says how long an operation and an exchange take
// there.
//
// A [Cluster] is either measured on this machine (galvani profile) or written
// down, as the presets are, for one that is not here. Its JSON form is read
// strictly by [Parse]; [Cluster.Describe] writes it for people, with a note of
// what was assumed.
//
// [Device.Time] is a launch and the longer of computing and of moving memory.
// [Cluster.Time] takes measured times of exchanges where a link has them, and
// else the alpha-beta model of [Cluster.Flow]. All groups alike exchange at the
// same time, so a link that devices share is divided among the groups that cross
// it. [Overlapped] joins both where they run side by side.
//
// Times are in seconds, sizes in bytes, rates in bytes or FLOPs a second.
package cluster
