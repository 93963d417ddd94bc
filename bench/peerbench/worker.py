"""The process of one peer, inside of the virtual environment: it prepares products, and times them in turns.

Requests come as lines of JSON on stdin, answers go as lines of JSON to stdout:

    {"do": "versions"}                                   -> {"versions": {...}}
    {"do": "prepare", "kernel": NAME, "shapes": [...]}   -> {"products": [{"shape", "name", "error", "limit"}, ...]}
    {"do": "turn", "threads": T, "seconds": S}           -> {"gflops": [[WALL, CPU], ...]}, one for each product prepared

A turn times each product as `lldm bench kernels` does: samples of 20 ms at least, each the mean of its calls, and of the
samples the median: by the clock, and by the CPU seconds that the process had on each of its threads, which on one thread is
what the clock would give if nothing else ran. Between turns the process waits for its next line, and its threads sleep.
"""

import json
import os
import statistics
import sys
import time
from importlib import import_module
from itertools import count

from . import cases
from .values import Values

SAMPLE_S = 0.02
SAMPLES = 3


def main():
    """Answers requests until stdin ends: `worker.py MODULE FOLDER`."""
    module, folder = sys.argv[1:]
    # What libraries print goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    peer = import_module(f"{__package__}.{module}").Peer(folder)
    values, prepared = Values(), []
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "versions":
            answer = {"versions": peer.versions()}
        elif request["do"] == "prepare":
            for product, *_ in prepared:
                product.free()
            prepared, described = [], []
            for shape in request["shapes"]:
                for product, name, calls, error, limit in peer.products(request["kernel"], shape, values):
                    prepared.append((product, calls * cases.operations(request["kernel"], shape)))
                    described.append({"shape": shape, "name": name, "error": error, "limit": limit})
            answer = {"products": described}
        else:
            threads, seconds = request["threads"], request["seconds"]
            peer.threads(threads)
            answer = {"gflops": [rates(product, work, threads, seconds) for product, work in prepared]}
        print(json.dumps(answer), file=answers, flush=True)


def rates(product, operations, threads, seconds):
    """1e9 operations a second by the clock and by CPU seconds on each thread, the medians of samples."""
    product.run()
    samples, cpu_samples = [], []
    start = time.perf_counter()
    while len(samples) < SAMPLES or time.perf_counter() - start < seconds:
        began, began_cpu = time.perf_counter(), time.process_time()
        for calls in count(1):
            product.run()
            spent = time.perf_counter() - began
            if spent >= SAMPLE_S:
                break
        samples.append(spent / calls)
        cpu_samples.append((time.process_time() - began_cpu) / threads / calls)
    return [operations / statistics.median(taken) * 1e-9 for taken in (samples, cpu_samples)]


if __name__ == "__main__":
    main()
