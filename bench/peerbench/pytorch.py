"""torch's products on the CPU: f32 (MKL), bf16 (oneDNN) and 8 bits (oneDNN, FBGEMM).

    f32           linear, f32 weights
    bf16          linear, bf16 weights as a model holds them
    bf16_packed   the same with the weights in oneDNN's own layout, packed before as ours are
    int8_onednn   dynamically quantised linear: f32 rows, one scale for all of them, int8 weights with a scale for each column
    int8_fbgemm   the same by torch's other engine
    int_mm        int8 x int8 -> int32 without any scale
    bf16_grouped  experts: one product for each group of rows, which were gathered before

What torch has for the products of experts lacks the gathering and scattering of rows, which ours and ggml's have.
"""

import os
import re
import sys
import warnings
from itertools import accumulate

from . import cases, training
from .values import dot, places, relative_error, row

# The largest error allowed: about twice what the types cost on normal values.
LIMITS = {
    "f32": 1e-5,
    "bf16": 0.006,
    "bf16_packed": 0.006,
    "int8_onednn": 0.06,
    "int8_fbgemm": 0.06,
    "int_mm": 0.0,
    "bf16_grouped": 0.006,
}


def load():
    """Imports torch. Its CUDA half is bound when it is called, which is never: see `install.py`."""
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_LAZY)
    warnings.filterwarnings("ignore", message=".*NumPy.*")
    import torch

    sys.setdlopenflags(flags)
    torch.set_grad_enabled(False)
    return torch


class Product:
    """One product that torch runs."""

    def __init__(self, call):
        self.call = call
        self.out = call()

    def run(self):
        """One product."""
        self.out = self.call()

    def free(self):
        """Gives the memory back."""
        self.call = self.out = None


class Peer:
    """torch as a peer: what it has for a kernel."""

    def __init__(self, _folder):
        self.torch = load()

    def versions(self):
        """Versions for the report."""
        shown = self.torch.__config__.show()
        named = {
            "onednn": r"MKL-DNN v(\S+)",
            "mkl": r"Math Kernel Library Version (\S+)",
            "torch units": r"capability usage: (\S+)",
        }
        found = {name: re.search(pattern, shown) for name, pattern in named.items()}
        return {"torch": self.torch.__version__, **{name: match[1] for name, match in found.items() if match}}

    def threads(self, count):
        """Sets the threads of the next calls."""
        self.torch.set_num_threads(count)

    def products(self, kernel, shape, values):
        """Yields (product, its name, the calls that one run makes, its error, the largest error allowed)."""
        torch = self.torch
        if kernel == cases.STEP:
            yield from training.steps(torch, cases.TORCH_TRAINING, shape)
            return
        inner, columns = shape[-2:]
        experts = shape[1] if len(shape) == 5 else 1
        dense = values.rows(columns + experts - 1, inner, seed=2)
        rows = values.rows(shape[0], inner, seed=3)
        x = torch.frombuffer(rows, dtype=torch.float32).view(shape[0], inner)
        weight = torch.frombuffer(dense, dtype=torch.float32).view(-1, inner)
        for kind in cases.torch_kinds(kernel):
            if kind == "int8_fbgemm" and "fbgemm" not in torch.backends.quantized.supported_engines:
                continue
            if kind == "bf16_grouped":
                call, pairs = grouped(torch, shape, x, weight, rows, dense)
            elif kind == "int_mm":
                call, pairs = int_mm(torch, shape)
            else:
                call = linear(torch, kind, x, weight)
                cells = places(shape[0], columns)
                pairs = [(i, j, dot(row(rows, i, inner), row(dense, j, inner))) for i, j in cells]
            product = Product(call)
            got = [float(product.out[i, j]) for i, j, _ in pairs]
            yield product, kind, 1, relative_error(got, [wanted for *_, wanted in pairs]), LIMITS[kind]


def linear(torch, kind, x, weight):
    """A product of rows and weights [columns, inner]."""
    if kind == "f32":
        return lambda: torch.nn.functional.linear(x, weight)
    if kind in ("bf16", "bf16_packed"):
        x, weight = x.bfloat16(), weight.bfloat16()
        if kind == "bf16":
            return lambda: torch.nn.functional.linear(x, weight)
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, x.shape[0])
        return lambda: torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")
    torch.backends.quantized.engine = kind.removeprefix("int8_")
    scales, zeros = weight.abs().amax(1) / 127, torch.zeros(len(weight), dtype=torch.int64)
    packed = torch.ops.quantized.linear_prepack(torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8), None)
    return lambda: torch.ops.quantized.linear_dynamic(x, packed, False)


def int_mm(torch, shape):
    """int8 x int8 -> int32, and the exact results."""
    count, inner, columns = shape
    generator = torch.Generator().manual_seed(4)
    x = torch.randint(-127, 128, (count, inner), dtype=torch.int8, generator=generator)
    weight = torch.randint(-127, 128, (inner, columns), dtype=torch.int8, generator=generator)

    def exact(i, j):
        return sum(a * b for a, b in zip(x[i].tolist(), weight[:, j].tolist()))

    return lambda: torch._int_mm(x, weight), [(i, j, exact(i, j)) for i, j in places(count, columns)]


def grouped(torch, shape, x, weight, rows, dense):
    """Products of gathered rows, expert by expert, and what they should give."""
    count, experts, chosen, inner, columns = shape
    chosen_by = cases.choices(shape)
    groups = [[token for token in range(count) if expert in chosen_by[token]] for expert in range(experts)]
    gathered = [token for group in groups for token in group]
    owners = [expert for expert, group in enumerate(groups) for _ in group]
    x, weight = x[torch.tensor(gathered)].bfloat16(), weight.bfloat16()
    # Expert e has the rows e, e + 1, ... of one longer matrix, as in `ggml.py`.
    stacked = torch.stack([weight[expert : expert + columns] for expert in range(experts)]).transpose(1, 2)
    ends = torch.tensor(list(accumulate(map(len, groups))), dtype=torch.int32)
    pairs = []
    for i, j in places(count * chosen, columns):
        pairs.append((i, j, dot(row(rows, gathered[i], inner), row(dense, owners[i] + j, inner))))
    return lambda: torch._grouped_mm(x, stacked, offs=ends), pairs
