// Package program compiles what one rank runs of a training job, without running
// it: the model is built, partitioned, differentiated and compiled. It plans the
// memory of a worker, and reads off the programs of small models what an embedding, a block and
// a head compute, exchange and hold under a strategy.
package program
