"""Normal values without numpy, and the reference that a peer's results are compared with before it is timed."""

import math
import random
from array import array
from operator import mul

POOL = 1 << 18
# How many values of a product are compared.
COMPARED = 64


class Values:
    """Rows of normal values, each cut from one pool at a place of its own."""

    def __init__(self, seed=1):
        rng = random.Random(seed)
        self.pool = array("f", (rng.gauss(0.0, 1.0) for _ in range(POOL)))

    def rows(self, count, length, seed):
        """`count` rows of `length` values, one behind the other, as f32."""
        rng = random.Random(seed)
        out = array("f")
        for _ in range(count):
            start = rng.randrange(POOL - length)
            out.extend(self.pool[start : start + length])
        return out


def row(values, index, length):
    """One row of a matrix."""
    return values[index * length : (index + 1) * length]


def dot(a, b):
    """The reference: products in f64, summed exactly."""
    return math.fsum(map(mul, a, b))


def places(rows, columns, seed=7):
    """Where a product is compared: its corners and cells at random."""
    rng = random.Random(seed)
    corners = [(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)]
    return corners + [(rng.randrange(rows), rng.randrange(columns)) for _ in range(COMPARED - len(corners))]


def relative_error(got, wanted):
    """The root of the mean squared error, as a share of that of the values wanted; infinite where a value is no number."""
    if not all(map(math.isfinite, got)):
        return math.inf
    return math.sqrt(math.fsum((g - w) ** 2 for g, w in zip(got, wanted)) / math.fsum(w * w for w in wanted))
