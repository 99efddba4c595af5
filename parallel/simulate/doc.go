// Package simulate plays a training step of a plan on a cluster, event by event.
package simulate
