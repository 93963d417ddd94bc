"""Rounds: in each ours, then ggml, then torch, on the same kernel, shapes and threads; of all rounds the medians."""

import json
import statistics
import subprocess
from pathlib import Path

from . import cases
from .peer_error import PeerError


class Worker:
    """The process of one peer; `worker.py` says what it understands."""

    def __init__(self, peer, module, environment):
        self.peer = peer
        self.log = environment.folder / f"{peer}.log"
        command = [str(environment.python), "-B", "-m", "peerbench.worker", module, str(environment.ggml_folder())]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                cwd=Path(__file__).parent.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.versions = self.ask({"do": "versions"})["versions"]

    def ask(self, request):
        """One request and its answer."""
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            code = self.process.wait()
            lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
            raise PeerError(f"{self.peer} ended with {code} ({lines[-1].strip() if lines else 'no word'}): {self.log}")
        return json.loads(answer)

    def prepare(self, kernel):
        """Makes the products of a kernel ready, and compares each with its reference."""
        products = self.ask({"do": "prepare", "kernel": kernel, "shapes": cases.shapes(kernel)})["products"]
        for product in products:
            # A comparison with a number that is none fails too.
            if not product["error"] <= product["limit"]:
                shape = cases.shape_name(product["shape"])
                raise PeerError(
                    f"{self.peer} computes {kernel} as {product['name']} at {shape} with a relative error of "
                    f"{product['error']:.2g} where {product['limit']:.2g} is the most: it is not timed"
                )
        return products

    def turn(self, threads, seconds):
        """Rates of all that was prepared, by the clock and by CPU seconds."""
        return self.ask({"do": "turn", "threads": threads, "seconds": seconds})["gflops"]

    def close(self):
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()


def measure(kernel, threads, rounds, seconds, own, workers, say):
    """The rows of one kernel: one for each number of threads and each shape."""
    products = {worker.peer: worker.prepare(kernel) for worker in workers}
    rows = []
    for count in threads:
        ours, theirs = [], {worker.peer: [] for worker in workers}
        for index in range(rounds):
            say(f"{kernel}, threads {count}, round {index + 1} of {rounds}")
            if own:
                ours.append(own.turn(kernel, count, seconds))
            for worker in workers:
                theirs[worker.peer].append(worker.turn(count, seconds))
        for shape in cases.shapes(kernel):
            mine = [turn[shape] for turn in ours]
            peers = []
            for peer, described in products.items():
                for index, product in enumerate(described):
                    if tuple(product["shape"]) == shape:
                        peers.append(peer_row(peer, product, [turn[index] for turn in theirs[peer]], mine))
            rows.append({"kernel": kernel, "shape": shape, "threads": count, "lldm": own_row(mine), "peers": peers})
    return rows


def own_row(turns):
    """Medians of our rows of all rounds; nothing where ours was left out."""
    if not turns:
        return None
    measured = ["gflops", "peak_gflops", "peak_ratio", "candle_gflops", "candle_ratio"]
    said = {name: turns[0].get(name) for name in ("path", "dtype", "instruction")}
    return {**said, **{name: median([turn[name] for turn in turns]) for name in measured}, "rounds": own_rates(turns)}


def own_rates(turns):
    """Our rates of each round."""
    return [turn["gflops"] for turn in turns]


def peer_row(peer, product, theirs, mine):
    """A peer's product: its medians, and the median of our share of it, round by round."""
    wall, cpu = zip(*theirs)
    ratio = median([a / b for a, b in zip(own_rates(mine), wall)]) if mine else None
    row = {"peer": peer, "name": product["name"], "gflops": median(wall), "cpu_gflops": median(cpu)}
    return {**row, "lldm_ratio": ratio, "relative_error": product["error"], "rounds": wall}


def median(values):
    """The median; nothing where a value is missing, as the peak of an unknown unit is."""
    return None if None in values else statistics.median(values)
