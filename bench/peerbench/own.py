"""Our own kernels: `lldm bench kernels` as a program beside the peers."""

import json
import subprocess

from . import cases
from .machine import first_line
from .peer_error import PeerError


class Own:
    """The program."""

    def __init__(self, program, shown):
        self.program = program
        said = first_line([program, "--version"])
        if said is None:
            raise PeerError(f"{shown} cannot be run: build it with `cargo build --release -p lldm-cli`, or name it with --lldm")
        self.version = said.removeprefix("lldm ")
        # The command that is run, with names for what changes.
        self.command = f"{shown} bench kernels --json --only KERNEL --seconds S --threads T"

    def turn(self, kernel, threads, seconds):
        """What the program measures for a kernel: its rows by shape."""
        command = [self.program, "bench", "kernels", "--json", "--only", kernel, "--seconds", str(seconds)]
        command += ["--threads", str(threads)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise PeerError(f"`{' '.join(command)}` failed: {lines[-1].strip() if lines else 'it said nothing'}")
        try:
            rows = json.loads(done.stdout)["rows"]
            found = {tuple(row["shape"]): row for row in rows if row["kernel"] == kernel}
        except (ValueError, KeyError, TypeError):
            raise PeerError(f"`{' '.join(command)}` did not write rows as JSON: is the program of the same version?")
        for shape in cases.shapes(kernel):
            if shape not in found:
                raise PeerError(f"`{' '.join(command)}` measured no {kernel} at {cases.shape_name(shape)}")
        wrong = [row for row in found.values() if row["threads"] != threads]
        if wrong:
            raise PeerError(f"`{' '.join(command)}` ran on {wrong[0]['threads']} threads")
        return found
