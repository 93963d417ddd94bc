"""ggml's products through ctypes on the libraries that llama-cpp-python built.

`ggml_mul_mat` and `ggml_mul_mat_id` with weights in a plain "CPU" buffer, and in each further buffer type that ggml's CPU
device offers and supports for the format ("CPU_REPACK": weights interleaved when they are loaded; "AMX" on CPUs that have it).
Weights are quantised by ggml from f32; rows are f32, as in our kernels.
"""

import ctypes
import os
from array import array
from ctypes import CFUNCTYPE, POINTER, Structure, c_bool, c_char_p, c_int, c_int64, c_size_t, c_void_p

from . import cases
from .values import dot, places, relative_error, row

# enum ggml_type: the numbers of the GGUF format.
TYPES = {
    "F32": 0,
    "Q4_0": 2,
    "Q4_1": 3,
    "Q5_0": 6,
    "Q8_0": 8,
    "Q4_K": 12,
    "Q5_K": 13,
    "Q6_K": 14,
    "I32": 26,
    "BF16": 30,
}
# The largest error allowed: about twice what the format and the 8-bit rows cost on normal values.
LIMITS = {
    "BF16": 0.006,
    "Q8_0": 0.02,
    "Q6_K": 0.04,
    "Q5_K": 0.08,
    "Q5_0": 0.09,
    "Q4_1": 0.14,
    "Q4_0": 0.18,
    "Q4_K": 0.16,
}
# Products in one graph: so many that the start of a graph costs nothing beside them, as in a model's graph.
GRAPH_OPERATIONS = 1e9
GRAPH_NODES = 8
# Bytes for the descriptions of tensors and of the graph, without their data.
DESCRIPTIONS = 4 << 20


class InitParams(Structure):
    """struct ggml_init_params."""

    _fields_ = [("mem_size", c_size_t), ("mem_buffer", c_void_p), ("no_alloc", c_bool)]


class Library:
    """The functions used, with their types."""

    def __init__(self, folder):
        def load(name):
            return ctypes.CDLL(os.path.join(folder, f"lib{name}.so"), mode=ctypes.RTLD_GLOBAL)

        base, cpu = load("ggml-base"), load("ggml-cpu")

        def take(library, name, result, *arguments):
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)

        pointer, count = c_void_p, c_int64
        take(base, "ggml_version", c_char_p)
        take(base, "ggml_init", pointer, InitParams)
        take(base, "ggml_free", None, pointer)
        take(base, "ggml_new_tensor_2d", pointer, pointer, c_int, count, count)
        take(base, "ggml_new_tensor_3d", pointer, pointer, c_int, count, count, count)
        take(base, "ggml_mul_mat", pointer, pointer, pointer, pointer)
        take(base, "ggml_mul_mat_id", pointer, pointer, pointer, pointer, pointer)
        take(base, "ggml_new_graph", pointer, pointer)
        take(base, "ggml_build_forward_expand", None, pointer, pointer)
        take(base, "ggml_row_size", c_size_t, c_int, count)
        take(base, "ggml_nbytes", c_size_t, pointer)
        take(base, "ggml_quantize_chunk", c_size_t, c_int, pointer, pointer, count, count, count, pointer)
        take(base, "ggml_backend_alloc_ctx_tensors_from_buft", pointer, pointer, pointer)
        take(base, "ggml_backend_buffer_free", None, pointer)
        take(base, "ggml_backend_tensor_set", None, pointer, pointer, c_size_t, c_size_t)
        take(base, "ggml_backend_tensor_get", None, pointer, pointer, c_size_t, c_size_t)
        take(base, "ggml_backend_cpu_buffer_type", pointer)
        take(base, "ggml_backend_buft_name", c_char_p, pointer)
        take(base, "ggml_backend_get_device", pointer, pointer)
        take(base, "ggml_backend_dev_supports_op", c_bool, pointer, pointer)
        take(base, "ggml_backend_dev_backend_reg", pointer, pointer)
        take(base, "ggml_backend_reg_get_proc_address", pointer, pointer, c_char_p)
        take(base, "ggml_backend_graph_compute", c_int, pointer, pointer)
        take(cpu, "ggml_backend_cpu_init", pointer)
        take(cpu, "ggml_backend_cpu_set_n_threads", None, pointer, c_int)
        self.backend = self.ggml_backend_cpu_init()
        if not self.backend:
            raise RuntimeError("ggml's CPU backend cannot be started")
        self.device = self.ggml_backend_get_device(self.backend)
        # Buffer types by name.
        self.buffers = {}
        for buffer in [self.ggml_backend_cpu_buffer_type(), *self.further_buffers()]:
            self.buffers[self.ggml_backend_buft_name(buffer).decode()] = buffer

    def further_buffers(self):
        """Buffer types of the CPU device beside the plain one."""
        registry = self.ggml_backend_dev_backend_reg(self.device)
        address = self.ggml_backend_reg_get_proc_address(registry, b"ggml_backend_dev_get_extra_bufts")
        if not address:
            return []
        found = CFUNCTYPE(POINTER(c_void_p), c_void_p)(address)(self.device)
        out = []
        while found and found[len(out)]:
            out.append(found[len(out)])
        return out

    def versions(self):
        """What the libraries say of themselves."""
        return {"ggml": self.ggml_version().decode()}


class Product:
    """One product or mixture of experts with its weights in one buffer type."""

    def __init__(self, library, kernel, name, buffer, shape, weights, rows):
        self.library, self.shape = library, shape
        self.name, self.buffer = name, buffer
        self.contexts, self.buffers = [], []
        work = cases.operations(kernel, shape)
        self.nodes = max(1, min(GRAPH_NODES, round(GRAPH_OPERATIONS / work)))
        kept, used = self.context(), self.context()
        kind, f32 = TYPES[name], TYPES["F32"]
        if len(shape) == 3:
            count, inner, columns = shape
            matrix = library.ggml_new_tensor_2d(kept, kind, inner, columns)
            x = library.ggml_new_tensor_2d(used, f32, inner, count)
            self.outs = [library.ggml_mul_mat(used, matrix, x) for _ in range(self.nodes)]
        else:
            count, experts, chosen, inner, columns = shape
            matrix = library.ggml_new_tensor_3d(kept, kind, inner, columns, experts)
            x = library.ggml_new_tensor_3d(used, f32, inner, 1, count)
            ids = library.ggml_new_tensor_2d(used, TYPES["I32"], chosen, count)
            self.outs = [library.ggml_mul_mat_id(used, matrix, x, ids) for _ in range(self.nodes)]
        self.graph = library.ggml_new_graph(used)
        for out in self.outs:
            library.ggml_build_forward_expand(self.graph, out)
        plain = library.buffers["CPU"]
        self.supported = self.allocate(kept, library.buffers[buffer]) and self.allocate(used, plain)
        self.supported = self.supported and library.ggml_backend_dev_supports_op(library.device, self.outs[0])
        if self.supported:
            self.set(matrix, weights)
            self.set(x, rows)
            if len(shape) == 5:
                self.set(ids, array("i", [expert for token in cases.choices(shape) for expert in token]))

    def context(self):
        """A place for descriptions of tensors."""
        context = self.library.ggml_init(InitParams(DESCRIPTIONS, None, True))
        self.contexts.append(context)
        return context

    def allocate(self, context, buffer):
        """Gives the tensors of a context their memory; says whether that was possible."""
        memory = self.library.ggml_backend_alloc_ctx_tensors_from_buft(context, buffer)
        if memory:
            self.buffers.append(memory)
        return bool(memory)

    def set(self, tensor, values):
        """Writes a whole tensor."""
        view = (ctypes.c_char * memoryview(values).nbytes).from_buffer(values)
        wanted = self.library.ggml_nbytes(tensor)
        if wanted != len(view):
            raise RuntimeError(f"a tensor of {wanted} bytes was given {len(view)}")
        self.library.ggml_backend_tensor_set(tensor, view, 0, wanted)

    def run(self):
        """One graph."""
        status = self.library.ggml_backend_graph_compute(self.library.backend, self.graph)
        if status != 0:
            raise RuntimeError(f"ggml's graph ended with status {status}")

    def results(self):
        """What the last node of the graph wrote, row by row."""
        out = array("f", bytes(self.library.ggml_nbytes(self.outs[-1])))
        view = (ctypes.c_char * memoryview(out).nbytes).from_buffer(out)
        self.library.ggml_backend_tensor_get(self.outs[-1], view, 0, len(view))
        return out

    def free(self):
        """Gives the memory back."""
        for memory in self.buffers:
            self.library.ggml_backend_buffer_free(memory)
        for context in self.contexts:
            self.library.ggml_free(context)


class Peer:
    """ggml as a peer: what it has for a kernel."""

    def __init__(self, folder):
        self.library = Library(folder)

    def versions(self):
        """Versions for the report."""
        return self.library.versions()

    def threads(self, count):
        """Sets the threads of the next calls."""
        self.library.ggml_backend_cpu_set_n_threads(self.library.backend, count)

    def products(self, kernel, shape, values):
        """Yields (product, its name, the calls that one run makes, its error, the largest error allowed)."""
        if kernel == cases.STEP:
            return
        name = cases.ggml_type(kernel)
        inner, columns = shape[-2:]
        experts = shape[1] if len(shape) == 5 else 1
        # Expert e has the rows e, e + 1, ... of one longer matrix: different weights, quantised once.
        dense = values.rows(columns + experts - 1, inner, seed=2)
        weights = self.quantise(name, dense, inner, columns, experts)
        rows = values.rows(shape[0], inner, seed=3)
        for buffer in self.library.buffers:
            product = Product(self.library, kernel, name, buffer, shape, weights, rows)
            if not product.supported:
                product.free()
                continue
            product.run()
            label = name if buffer == "CPU" else f"{name}, {buffer}"
            yield product, label, product.nodes, error(product, dense, rows), LIMITS[name]

    def quantise(self, name, dense, inner, columns, experts):
        """The blocks of all experts, one behind the other."""
        library, kind = self.library, TYPES[name]
        row_bytes = library.ggml_row_size(kind, inner)
        count = columns + experts - 1
        blocks = bytearray(count * row_bytes)
        source = (ctypes.c_float * len(dense)).from_buffer(dense)
        target = (ctypes.c_char * len(blocks)).from_buffer(blocks)
        written = library.ggml_quantize_chunk(kind, source, target, 0, count, inner, None)
        if written != len(blocks):
            raise RuntimeError(f"ggml quantised {written} bytes of {name} where {len(blocks)} were awaited")
        del target
        size = columns * row_bytes
        out = bytearray(experts * size)
        for expert in range(experts):
            out[expert * size : (expert + 1) * size] = memoryview(blocks)[expert * row_bytes :][:size]
        return out


def error(product, dense, rows):
    """The relative error of a few results against f64 products of the f32 weights."""
    shape = product.shape
    inner, columns = shape[-2:]
    results = product.results()
    got, wanted = [], []
    if len(shape) == 3:
        for i, j in places(shape[0], columns):
            got.append(results[i * columns + j])
            wanted.append(dot(row(rows, i, inner), row(dense, j, inner)))
    else:
        chosen = cases.choices(shape)
        for i, j in places(shape[0] * shape[2], columns):
            token, slot = divmod(i, shape[2])
            got.append(results[i * columns + j])
            wanted.append(dot(row(rows, token, inner), row(dense, chosen[token][slot] + j, inner)))
    return relative_error(got, wanted)
