"""Matrix products on OpenBLAS, as the peer of `galvani bench cpu --openblas`.

It reads JSON objects from standard input, one a line, and answers each with one
on standard output. It needs nothing but Python's standard library.

    {"library": ""}    -> {"version": "OpenBLAS 0.3.29 ..., /usr/lib/..."}, or {"error": ...}
    {"m": 256, "n": 768, "k": 768, "trans_a": false, "trans_b": false,
     "lda": 768, "ldb": 768, "ldc": 768, "a": BASE64, "b": BASE64,
     "threads": 2, "repetitions": 5}
                       -> {"seconds": [...], "sample": [...]}

a and b are the first elements of the operands, float32, which repeat to the
operand's end. sample is the first, the middle and the last element of C. One
repetition more than asked for runs first and is not counted. Time is taken here,
around the call.
"""

import base64
import ctypes
import ctypes.util
import glob
import json
import mmap
import sys
import time

ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112
FLOAT = 4  # bytes


def candidates(path):
    """Libraries to try, the best first.

    The one with OpenMP threads is what PyTorch and others use beside their own.
    """
    if path:
        return [path]
    found = []
    for variant in ("openmp", "pthread"):
        found += sorted(glob.glob(f"/usr/lib/*/openblas-{variant}/libopenblas*.so*"))
    name = ctypes.util.find_library("openblas")
    return found + ["libopenblas.so.0", "libopenblas.so"] + ([name] if name else [])


def load(path):
    """The first library that has what is needed, with its name; or why there is none."""
    reasons = []
    for name in candidates(path):
        try:
            library = ctypes.CDLL(name)
            library.cblas_sgemm.restype = None
            library.openblas_set_num_threads.restype = None
            library.openblas_get_config.restype = ctypes.c_char_p
            return library, f"{library.openblas_get_config().decode()}, {name}"
        except (OSError, AttributeError) as error:
            reasons.append(f"{name}: {error}")
    raise OSError("no OpenBLAS: " + "; ".join(reasons))


class Matrix:
    """Page-aligned memory with random elements that repeat."""

    def __init__(self, elements, period=None):
        self.size = elements * FLOAT
        self.memory = mmap.mmap(-1, self.size)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            try:
                self.memory.madvise(mmap.MADV_HUGEPAGE)
            except OSError:
                pass  # only advice
        if period is None:
            self.memory.write(bytes(self.size))
        else:
            whole, rest = divmod(self.size, len(period))
            self.memory.write(period * whole + period[:rest])
        self.pointer = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(self.memory)))

    def element(self, i):
        return ctypes.c_float.from_buffer(self.memory, FLOAT * i).value


class Product:
    """C = A B."""

    def __init__(self, q):
        rows_a, rows_b = (q["k"] if q["trans_a"] else q["m"]), (q["n"] if q["trans_b"] else q["k"])
        self.a = Matrix(rows_a * q["lda"], base64.b64decode(q["a"]))
        self.b = Matrix(rows_b * q["ldb"], base64.b64decode(q["b"]))
        self.size_c = q["m"] * q["ldc"]
        self.c = Matrix(self.size_c)
        self.arguments = (
            ctypes.c_int(ROW_MAJOR),
            ctypes.c_int(TRANSPOSED if q["trans_a"] else PLAIN),
            ctypes.c_int(TRANSPOSED if q["trans_b"] else PLAIN),
            ctypes.c_int(q["m"]), ctypes.c_int(q["n"]), ctypes.c_int(q["k"]),
            ctypes.c_float(1), self.a.pointer, ctypes.c_int(q["lda"]),
            self.b.pointer, ctypes.c_int(q["ldb"]),
            ctypes.c_float(0), self.c.pointer, ctypes.c_int(q["ldc"]),
        )

    def run(self, library, repetitions):
        sgemm, arguments = library.cblas_sgemm, self.arguments
        seconds = []
        for _ in range(repetitions + 1):
            start = time.perf_counter_ns()
            sgemm(*arguments)
            seconds.append((time.perf_counter_ns() - start) / 1e9)
        sample = [self.c.element(i) for i in (0, self.size_c // 2, self.size_c - 1)]
        return {"seconds": seconds[1:], "sample": sample}


def main():
    requests = iter(sys.stdin.readline, "")

    def reply(r):
        print(json.dumps(r), flush=True)

    try:
        library, version = load(json.loads(next(requests))["library"])
    except OSError as error:
        reply({"error": str(error)})
        sys.exit(1)
    reply({"version": version})
    shape, product, threads = None, None, None
    for line in requests:
        q = json.loads(line)
        repetitions, wanted = q.pop("repetitions"), q.pop("threads")
        if wanted != threads:
            library.openblas_set_num_threads(wanted)
            threads = wanted
        if q != shape:
            product = None  # its memory first
            shape, product = q, Product(q)
        reply(product.run(library, repetitions))


if __name__ == "__main__":
    main()
