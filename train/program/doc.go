// Package program compiles what one rank runs of a training job: the model is
// built, partitioned, differentiated and compiled. It plans the memory of a worker.
//
// Of a strategy it tells what an embedding, a block and a head have a rank do,
// from the programs of small models: [Works] reads off what they compute,
// exchange and hold, [Measure] runs one rank alone and takes the time of its
// computation.
package program
