// Package launch starts jobs of worker processes on this machine.
//
// [Start] is the coordinator's side: it starts a NATS server (or uses an
// external one) and the workers, which are this program again, and hands each a
// spec; [Job.Follow] takes in what they report, and finds the most telling
// reason where the job fails. [Work] is a worker's side: it joins, and does what
// the spec's kind names. No process outlives a job: a worker ends when its
// standard input does.
package launch
