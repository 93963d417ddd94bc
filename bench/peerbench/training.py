"""A training step in torch: the transformer of `lldm bench kernels --only training_step`, forward, backward and AdamW.

RMSNorm, full attention without positions, a GELU (tanh) MLP of four times the width, no biases, an output projection of its own:
the network of crates/train/src/step_bench/candle_network.rs. `f32` is plain; `bf16_autocast` lets torch choose which operations run in
bf16, with parameters in f32, as ours has them.
"""

import math

HEAD_WIDTH = 64
EPSILON = 1e-5
RATE = 1e-3
# Steps after which the loss must have fallen.
WARM_STEPS = 3


def parameters(shape):
    """How many the network has."""
    _, _, layers, width, vocabulary = shape
    return 2 * vocabulary * width + layers * (12 * width * width + 2 * width) + width


def operations(shape):
    """Operations of a step, counted as in crates/cli/src/kernel_bench/training.rs."""
    batch, length, layers, width, _ = shape
    return 6 * batch * length * (parameters(shape) + 2 * layers * length * width)


class Step:
    """One network with its optimizer."""

    def __init__(self, torch, kind, shape):
        self.torch, self.autocast = torch, kind == "bf16_autocast"
        self.batch, self.length, self.layers, self.width, self.vocabulary = shape
        generator = torch.Generator().manual_seed(5)

        def matrix(rows, columns, spread):
            return (torch.randn(rows, columns, generator=generator) * spread).requires_grad_()

        width, spread = self.width, self.width**-0.5
        self.embedding = matrix(self.vocabulary, width, 0.02)
        self.head = matrix(self.vocabulary, width, 0.02)
        self.norm = torch.ones(width).requires_grad_()
        self.blocks = [
            {
                "norms": [torch.ones(width).requires_grad_() for _ in range(2)],
                "qkvo": [matrix(width, width, spread) for _ in range(4)],
                "mlp": [matrix(4 * width, width, spread), matrix(width, 4 * width, spread / 2)],
            }
            for _ in range(self.layers)
        ]
        weights = [self.embedding, self.head, self.norm]
        for block in self.blocks:
            weights += [*block["norms"], *block["qkvo"], *block["mlp"]]
        self.count = sum(weight.numel() for weight in weights)
        self.optimizer = torch.optim.AdamW(weights, lr=RATE, fused=True)
        self.tokens = torch.randint(0, self.vocabulary, (self.batch, self.length), generator=generator)

    def run(self):
        """One step; the loss."""
        torch = self.torch
        with torch.enable_grad():
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast):
                loss = self.loss()
            loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss)

    def loss(self):
        """The mean cross-entropy of each token under what the cell before it says."""
        torch = self.torch
        functional = torch.nn.functional
        x = functional.embedding(self.tokens, self.embedding)
        shape = (self.batch, self.length, self.width // HEAD_WIDTH, HEAD_WIDTH)
        for block in self.blocks:
            normed = functional.rms_norm(x, (self.width,), block["norms"][0], EPSILON)
            query, key, value = (functional.linear(normed, weight).view(shape).transpose(1, 2) for weight in block["qkvo"][:3])
            attended = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)
            x = x + functional.linear(attended.reshape(x.shape), block["qkvo"][3])
            normed = functional.rms_norm(x, (self.width,), block["norms"][1], EPSILON)
            inner = functional.gelu(functional.linear(normed, block["mlp"][0]), approximate="tanh")
            x = x + functional.linear(inner, block["mlp"][1])
        logits = functional.linear(functional.rms_norm(x, (self.width,), self.norm, EPSILON), self.head)
        return functional.cross_entropy(logits.view(-1, self.vocabulary), self.tokens.roll(-1, 1).flatten())

    def free(self):
        """Gives the memory back."""
        self.embedding = self.head = self.blocks = self.optimizer = None


def steps(torch, kinds, shape):
    """Yields (step, its name, the calls that one run makes, its error, the largest error allowed).

    The error is how far the first loss lies from that of a network that knows nothing, and none where it does not fall from there.
    """
    for kind in kinds:
        step = Step(torch, kind, shape)
        if step.count != parameters(shape):
            raise RuntimeError(f"the network has {step.count} parameters where {parameters(shape)} were counted")
        losses = [step.run() for _ in range(WARM_STEPS)]
        nothing = math.log(shape[-1])
        error = abs(losses[0] / nothing - 1) if losses[-1] < losses[0] else math.nan
        yield step, kind, 1, error, 0.05
