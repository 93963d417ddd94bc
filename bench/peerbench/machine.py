"""This machine, as a measurement names it."""

import os
import platform
import subprocess
from pathlib import Path


def cpu_name():
    """The CPU's name, with the numbers that tell generations apart where the name does not."""
    file = Path("/proc/cpuinfo")
    if not file.is_file():
        return platform.processor() or platform.machine()
    fields = {}
    for line in file.read_text().splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    name = fields.get("model name", platform.machine())
    if "cpu family" in fields:
        name += f" (family {fields['cpu family']}, model {fields['model']}, stepping {fields.get('stepping', '?')})"
    return name


def cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def load_average():
    """Processes that ran or wanted to during the last minute: what else the machine did."""
    return round(os.getloadavg()[0], 2)


def first_line(command):
    """What a program says of itself in its first line; nothing where it is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return (done.stdout.splitlines() or [None])[0]
