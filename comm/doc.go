// Package comm carries tensors and control messages between the processes of a
// training job.
//
// # Planes
//
// A job has one coordinator and Size workers, ranks 0 to Size-1, all clients of
// one NATS server: a [Server] embedded in the coordinator, or an external one
// named by an [Endpoint]. Each process holds a [Session] of two connections, so
// that heartbeats never wait behind tensors.
//
//	control   Coordinator <-> Member   join, job spec, events, commands, leases
//	data      Transport                tensors from rank to rank
//	          Group                    collectives over a subset of ranks
//
// A [Transport] is made by [Connect] (or [Member.Transport]) between processes
// and by [Local] inside one; all share the receiving half and have the same
// semantics. Between processes, ranks agree when they meet which [Plane] carries
// what goes between any two of them ([Routes]): shared memory on one host, a TCP
// connection, or NATS, which carries all control. [Group] builds all-reduce,
// all-gather, reduce-scatter, broadcast, all-to-all, rotation, barrier and a byte
// exchange from point-to-point messages, or does the first three in place where
// all members have the tensor in memory that they share ([Alloc]).
//
// # Failure
//
// Everything here is fail-fast. Core NATS loses messages without telling, so
// every frame carries a sequence number, checksums and the epoch of the job, and
// every sender holds credits. Marks between frames show where the last of them is
// lost. The first error of a transport is its last: it
// ends the transport on this rank, is sent to the other ranks, and every pending
// and later call on any rank returns an error at once. A step is therefore done
// on all ranks or on none; to go on, start a new epoch. A lost connection, a
// slow consumer, a permission error or an expired lease ends the whole session.
//
//	*TimeoutError   a deadline passed: operation, rank, peer, edge, step
//	*PeerError      another rank failed, left or went silent
//	*CorruptError   a gap, a duplicate, a bad checksum, a stale epoch
//	*MismatchError  the two ends of an edge disagree about what is sent
//	*ConnError      the NATS connection is gone or misbehaved
//	*LeaseError     no heartbeat for longer than the lease
//	*AbortError     the coordinator ended the job
//
// # Subjects
//
// All subjects start with gt.<job>.<epoch>, the first fence between epochs:
//
//	.d.<dst>.<src>        frames of the data plane (tensors, credits, aborts)
//	.join                 request of a worker to be admitted
//	.bye                  notice that a worker leaves
//	.evt.<rank>.<kind>    event of a worker
//	.hb.<rank>            heartbeat of a worker
//	.beat                 heartbeat of the coordinator
//	.cmd.<kind>           command to all workers
//	.abort                end of the job
//	.spec.<worker id>     job spec for one worker
//
// Payloads are in the byte order of the machine, which is little-endian on
// every platform this package supports; it refuses to start on others.
package comm
