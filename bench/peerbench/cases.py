"""What is measured: the kernels and shapes of `lldm bench kernels`, and what the peers have for each.

A product has the shape rows x inner x columns, with weights [columns, inner]. A mixture of experts has the shape tokens x
experts x choices x inner x columns: every token meets the experts that it chose, each with one product inner -> columns. A training
step has the shape batch x length x layers x width x vocabulary.
"""

import random

from . import training

PRODUCTS = [(256, 2816, 2112), (256, 2048, 8192), (16, 2048, 2048), (1, 2048, 2048)]
EXPERTS = [(256, 128, 8, 2816, 1408)]
TRAINING = [(16, 256, 6, 384, 8192)]

# Our names of formats, and ggml's.
FORMATS = {
    "bf16": "BF16",
    "q4_0": "Q4_0",
    "q4_1": "Q4_1",
    "q5_0": "Q5_0",
    "q8_0": "Q8_0",
    "q4_k": "Q4_K",
    "q5_k": "Q5_K",
    "q6_k": "Q6_K",
}
STEP = "training_step"
KNOWN = [f"{group}_{name}" for group in ("gemm", "experts") for name in FORMATS] + [STEP]
# What `lldm bench kernels` has.
DEFAULT = [f"gemm_{name}" for name in FORMATS] + ["experts_q4_0", "experts_q4_k", "experts_q8_0", STEP]

# torch has none of the blockwise formats: beside them stands its product of 8 bits, which is the nearest.
TORCH_BF16 = ["f32", "bf16", "bf16_packed"]
TORCH_INT8 = ["int8_onednn", "int8_fbgemm", "int_mm"]
TORCH_EXPERTS = ["bf16_grouped"]
TORCH_TRAINING = ["f32", "bf16_autocast"]


def is_experts(kernel):
    """Whether a kernel is a mixture of experts."""
    return kernel.startswith("experts_")


def shapes(kernel):
    """The shapes of a kernel."""
    if kernel == STEP:
        return TRAINING
    return EXPERTS if is_experts(kernel) else PRODUCTS


def ggml_type(kernel):
    """ggml's name of the format of a kernel's weights."""
    return FORMATS[kernel.split("_", 1)[1]]


def torch_kinds(kernel):
    """What torch runs beside a kernel."""
    if is_experts(kernel):
        return TORCH_EXPERTS
    return TORCH_BF16 if kernel == "gemm_bf16" else TORCH_INT8


def operations(kernel, shape):
    """Operations of one call: two for each multiplication."""
    if kernel == STEP:
        return training.operations(shape)
    if len(shape) == 3:
        return 2 * shape[0] * shape[1] * shape[2]
    tokens, _, choices, inner, columns = shape
    return 2 * tokens * choices * inner * columns


def choices(shape, seed=1):
    """The experts that each token chooses: different ones, at random."""
    tokens, experts, chosen = shape[:3]
    rng = random.Random(seed)
    return [rng.sample(range(experts), chosen) for _ in range(tokens)]


def shape_name(shape):
    """A shape for readers."""
    return " x ".join(map(str, shape))
