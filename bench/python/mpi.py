"""Collectives of Open MPI, as a peer of `galvani bench comm`, called through its C
library.

mpirun runs it as every rank. Rank 0 reads JSON objects from standard input, one a
line, and answers each on standard output:

    {"op": "all-reduce", "elements": 1024, "repetitions": 5}
        -> {"seconds": [...], "version": "Open MPI v4.1.4"}

Tensors are float32 in private memory, reduced and gathered in place. One call
more than asked for runs first and is not counted. The other ranks sleep between turns: Open MPI's own waits spin.
"""

import ctypes
import json
import sys
import time
from array import array

lib = ctypes.CDLL("libmpi.so.40", mode=ctypes.RTLD_GLOBAL)


def symbol(name):
    return ctypes.c_void_p(ctypes.addressof(ctypes.c_char.in_dll(lib, name)))


WORLD, FLOAT, INT64, SUM = (symbol("ompi_mpi_" + n) for n in ("comm_world", "float", "int64_t", "op_sum"))
IN_PLACE, ANY, IGNORE = ctypes.c_void_p(1), -1, None
OPS = ["all-reduce", "all-gather", "reduce-scatter"]

lib.MPI_Init(None, None)
number = ctypes.c_int()
lib.MPI_Comm_rank(WORLD, ctypes.byref(number))
rank = number.value
lib.MPI_Comm_size(WORLD, ctypes.byref(number))
size = number.value


def collective(op, n):
    part = n // size
    x = (ctypes.c_float * n)(*([1.0] * n)) if n < 1 << 16 else (ctypes.c_float * n).from_buffer(bytearray(array("f", [1.0]).tobytes() * n))
    y = (ctypes.c_float * part)()
    ctypes.memset(y, 0, 4 * part)
    counts = (ctypes.c_int * size)(*([part] * size))
    if op == 0:
        return x, lambda: lib.MPI_Allreduce(IN_PLACE, x, n, FLOAT, SUM, WORLD)
    if op == 1:
        return x, lambda: lib.MPI_Allgather(IN_PLACE, 0, FLOAT, x, part, FLOAT, WORLD)
    return y, lambda: lib.MPI_Reduce_scatter(x, y, counts, FLOAT, SUM, WORLD)


def measure(op, n, repetitions):
    result, run = collective(op, n)
    lib.MPI_Barrier(WORLD)
    run()
    want = 1.0 if op == 1 else float(size)
    if result[0] != want or result[len(result) - 1] != want:
        raise SystemExit("%s of %d elements gives %r" % (OPS[op], n, result[0]))
    if op == 0:
        ctypes.memset(result, 0, 4 * n)
    seconds = []
    lib.MPI_Barrier(WORLD)
    for _ in range(repetitions):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    lib.MPI_Barrier(WORLD)
    return seconds


message = (ctypes.c_int64 * 3)()
if rank > 0:
    flag = ctypes.c_int()
    while True:
        lib.MPI_Iprobe(0, 0, WORLD, ctypes.byref(flag), IGNORE)
        if not flag.value:
            time.sleep(0.002)
            continue
        lib.MPI_Recv(message, 3, INT64, 0, 0, WORLD, IGNORE)
        if message[1] == 0:
            break
        measure(*message)
else:
    version = ctypes.create_string_buffer(256)
    lib.MPI_Get_library_version(version, ctypes.byref(number))
    name = version.value.decode().split(",")[0]

    def tell(values):
        message[:] = values
        for peer in range(1, size):
            lib.MPI_Send(message, 3, INT64, peer, 0, WORLD)

    for line in sys.stdin:
        ask = json.loads(line)
        values = [OPS.index(ask["op"]), ask["elements"], ask["repetitions"]]
        tell(values)
        print(json.dumps({"seconds": measure(*values), "version": name}), flush=True)
    tell([0, 0, 0])
lib.MPI_Finalize()
