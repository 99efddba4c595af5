"""Collectives of Gloo by torch.distributed, as a peer of `galvani bench comm`.

The first argument is the number of ranks; this process is rank 0 and starts the
others. It speaks as mpi.py does. Gloo has no reduce-scatter.
"""

import json
import os
import sys
import tempfile
import time

import torch
import torch.distributed as dist

size = int(sys.argv[1])
store = tempfile.mkdtemp()
OPS = ["all-reduce", "all-gather", "reduce-scatter"]
rank = 0
for r in range(1, size):
    if os.fork() == 0:
        rank = r
        sys.stdin.close()
        break
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method="file://" + store + "/store", rank=rank, world_size=size)


def collective(op, n):
    part = n // size
    x = torch.ones(n)
    if op == 0:
        return x, lambda: dist.all_reduce(x)
    if op == 1:
        parts = list(x.split(part))
        mine = torch.ones(part)
        return x, lambda: dist.all_gather(parts, mine)
    raise SystemExit("gloo has no reduce-scatter")


def measure(op, n, repetitions):
    result, run = collective(op, n)
    dist.barrier()
    run()
    want = 1.0 if op == 1 else float(size)
    if result[0] != want or result[-1] != want:
        raise SystemExit("%s of %d elements gives %r" % (OPS[op], n, result[0]))
    result.zero_()
    seconds = []
    dist.barrier()
    for _ in range(repetitions):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    dist.barrier()
    return seconds


message = torch.zeros(3, dtype=torch.int64)
if rank > 0:
    while True:
        dist.broadcast(message, 0)
        if message[1] == 0:
            break
        measure(*message.tolist())
    os._exit(0)
for line in sys.stdin:
    ask = json.loads(line)
    message = torch.tensor([OPS.index(ask["op"]), ask["elements"], ask["repetitions"]])
    dist.broadcast(message, 0)
    print(json.dumps({"seconds": measure(*message.tolist()), "version": "torch " + torch.__version__}), flush=True)
dist.broadcast(torch.zeros(3, dtype=torch.int64), 0)
for _ in range(1, size):
    os.wait()
