// Package planning makes the planner's problems of models and machines: what
// layers do is read off compiled programs (package program), what that takes comes
// from a cluster's description and, of this machine, from programs that are run
// (see
// package profile).
package planning
