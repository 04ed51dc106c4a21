"""The compiled form of `nonet.kernels.sparse_conv` for the CPU: gather and multiply in vector registers.

Outputs are worked on in blocks that stay in the fastest caches. For each tap, eight pairs at a time: their
inputs' rows times the tap's weights are summed in registers and then added to their outputs' rows. Nothing
is gathered into memory first, no buffer holds products, and a block belongs to one thread, so there are no
atomic sums and no races: an output is the sum over taps in order, the same bits for any number of threads.

The weights' gradient takes a stretch of outputs at a time, tap after tap, so that what the taps share is read
from memory once; a tile of eight rows of it stays in registers over 64 pairs. The outputs are dealt out in a
fixed number of shares, whose gradients are added up in order.

The inner loops are written as LLVM vectors of the machine's width, as numba does not keep a tile of an array
in registers by itself.
"""

import functools
from typing import Any, NamedTuple

import llvmlite.binding
import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from torch import Tensor

from nonet.kernels.kernel_map import KernelMap
from nonet.kernels.side_by_side import side_by_side

# Shapes: n_in and n_out voxels, K taps, C and D channels in and out.

BLOCK = 1 << 15  # bytes of outputs of a block
STRETCH = 1 << 10  # outputs, at least, whose pairs the weights' gradient goes through before the next
CHUNK = 64  # pairs that are gone through for all tiles before the next
SHARES = 16  # of the weights' gradient at most: each takes memory, and the number of threads must not matter
ONE, TWO, FOUR, EIGHT = ((0,) * count for count in (1, 2, 4, 8))  # a length that the compiler knows
WORTHWHILE = 1 << 21  # multiplications from which threads are worth their start


def convolve(features: Tensor, weight: Tensor, bias: Tensor | None, kernel_map: KernelMap) -> Tensor:
    """(n_out, D): bias plus the sum over pairs of an output of features times the tap's weights.

    Args:
        features: (n_in, C) float32 or float64.
        weight: (K, C, D), same dtype.
        bias: (D,), same dtype, or None.
        kernel_map: whose inputs are in 0..n_in-1.
    """
    K, C, D = weight.shape
    wide = _padded(D, weight.dtype)
    panel = _panel(wide, weight.dtype)
    if wide > D:
        weight = torch.nn.functional.pad(weight, (0, wide - D))
    panels = weight.reshape(K, C, wide // panel, panel).transpose(1, 2).contiguous().numpy()
    first = np.zeros(wide, panels.dtype)
    if bias is not None:
        first[:D] = bias.numpy()
    rows = features.contiguous().numpy()
    found = torch.empty(kernel_map.n_out, wide, dtype=features.dtype)
    block = max(32, BLOCK // (wide * features.element_size()))
    bounds = _bounds(kernel_map, block)
    inputs, outputs, out = kernel_map.inputs.numpy(), kernel_map.outputs.numpy(), found.numpy()
    vectors = _vectors(panel, weight.dtype)
    jobs = len(bounds) - 1
    share = max(1, jobs // (8 * torch.get_num_threads()))

    def blocks(job: int) -> None:
        until = min(jobs, (job + 1) * share)
        _convolve(rows, panels, first, inputs, outputs, bounds, block, job * share, until, vectors, out)

    work = len(inputs) * C * wide
    side_by_side(blocks, -(-jobs // share), worthwhile=work >= WORTHWHILE)
    return found if wide == D else found[:, :D].contiguous()


def weight_gradient(features: Tensor, gradient: Tensor, kernel_map: KernelMap) -> Tensor:
    """(K, C, D): over the pairs of each tap, the sum of input rows times output gradients.

    Args:
        features: (n_in, C) float32 or float64.
        gradient: (n_out, D), same dtype.
        kernel_map: as in the forward pass.
    """
    C, D = features.shape[1], gradient.shape[1]
    wide = _padded(D, gradient.dtype)
    if wide > D:
        gradient = torch.nn.functional.pad(gradient, (0, wide - D))
    panel = _panel(wide, gradient.dtype)
    rows, gradients = features.contiguous().numpy(), gradient.contiguous().numpy()
    inputs, outputs = kernel_map.inputs.numpy(), kernel_map.outputs.numpy()
    weights, work = kernel_map.taps * C * wide, len(inputs) * C * wide
    bounds = _bounds(kernel_map, max(STRETCH, weights // 256))
    stretches = len(bounds) - 1
    shares = max(1, min(SHARES, stretches, work // max(weights, WORTHWHILE)))
    edges = [stretches * share // shares for share in range(shares + 1)]
    parts = np.zeros((shares, kernel_map.taps, C, wide), rows.dtype)
    vectors = _vectors(panel, gradient.dtype)

    def share(job: int) -> None:
        begin, end = edges[job], edges[job + 1]
        _weigh(rows, gradients, inputs, outputs, bounds, begin, end, panel, vectors, parts[job])

    side_by_side(share, shares)
    found = functools.reduce(np.add, parts)
    return torch.from_numpy(found[:, :, :D].copy() if wide > D else found)


def _bounds(kernel_map: KernelMap, block: int) -> np.ndarray:
    """(blocks + 1, K) int64: the first pair of each tap whose output lies in a block, or behind it."""
    key = "bounds", block
    if key not in kernel_map.forms:
        blocks = -(-kernel_map.n_out // block)
        found = np.empty((blocks + 1, kernel_map.taps), np.int64)
        _find_bounds(kernel_map.outputs.numpy(), kernel_map.starts.numpy(), block, found)
        kernel_map.forms[key] = found
    bounds: np.ndarray = kernel_map.forms[key]
    return bounds


class _Array(NamedTuple):
    data: Any
    shape: list[Any]


@functools.cache
def _vector_bytes() -> int:
    """Bytes of a vector register: 64 with AVX-512, 32 with AVX; else two or so of 16 serve as one."""
    return 64 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 32


def _lanes(dtype: torch.dtype) -> int:
    return _vector_bytes() // int(dtype.itemsize)


def _padded(D: int, dtype: torch.dtype) -> int:
    """D up to whole vectors."""
    return -(-D // _lanes(dtype)) * _lanes(dtype)


def _panel(wide: int, dtype: torch.dtype) -> int:
    """Columns worked on together: two vectors if that divides the width, else one."""
    lanes = _lanes(dtype)
    return 2 * lanes if wide % (2 * lanes) == 0 else lanes


def _vectors(panel: int, dtype: torch.dtype) -> tuple[tuple[int, ...], ...]:
    """A panel's vectors and their numbers as lengths of tuples, which are part of a type, so compiled for."""
    lanes = _lanes(dtype)
    return ((0,) * lanes,) * (panel // lanes)


@numba.njit(cache=True, nogil=True)
def _find_bounds(outputs, starts, block, found):
    for tap in range(len(starts) - 1):
        pair = starts[tap]
        for row in range(len(found)):
            while pair < starts[tap + 1] and outputs[pair] < row * block:
                pair += 1
            found[row, tap] = pair


@numba.njit(cache=True, nogil=True)
def _convolve(rows, panels, first, inputs, outputs, bounds, block, begin, end, vectors, out):
    """Outputs of blocks `begin` to `end` - 1."""
    K, tiles = panels.shape[0], panels.shape[1]
    for number in range(begin, end):
        for row in range(number * block, min(len(out), (number + 1) * block)):
            for column in range(len(first)):
                out[row, column] = first[column]
        for tap in range(K):
            last = bounds[number + 1, tap]
            for tile in range(tiles):
                pair = bounds[number, tap]
                while pair + 8 <= last:
                    _multiply(rows, panels, inputs, outputs, out, tap, tile, pair, EIGHT, vectors)
                    pair += 8
                if pair + 4 <= last:
                    _multiply(rows, panels, inputs, outputs, out, tap, tile, pair, FOUR, vectors)
                    pair += 4
                if pair + 2 <= last:
                    _multiply(rows, panels, inputs, outputs, out, tap, tile, pair, TWO, vectors)
                    pair += 2
                if pair < last:
                    _multiply(rows, panels, inputs, outputs, out, tap, tile, pair, ONE, vectors)


@numba.njit(cache=True, nogil=True)
def _weigh(rows, gradients, inputs, outputs, bounds, begin, end, panel, vectors, found):
    """Add to `found` (K, C, D) the products of the pairs of stretches `begin` to `end` - 1."""
    K, C, D = found.shape
    for stretch in range(begin, end):
        for tap in range(K):
            of_tap = found[tap]
            for first in range(bounds[stretch, tap], bounds[stretch + 1, tap], CHUNK):
                last = min(bounds[stretch + 1, tap], first + CHUNK)
                for column in range(0, D, panel):
                    c = 0
                    while c + 8 <= C:
                        _accumulate(
                            rows, gradients, inputs, outputs, of_tap, first, last, c, column, EIGHT, vectors
                        )
                        c += 8
                    while c < C:
                        _accumulate(
                            rows, gradients, inputs, outputs, of_tap, first, last, c, column, ONE, vectors
                        )
                        c += 1


@intrinsic
def _multiply(typingctx, rows, panels, inputs, outputs, out, tap, tile, pair, count, vectors):
    """out[outputs[pair + i]] += rows[inputs[pair + i]] @ panels[tap, tile], for i below len(count)."""

    def generate(context, builder, signature, arguments):
        rows, panels, inputs, outputs, out = _arrays(context, builder, signature, arguments[:5])
        tap, tile, pair = arguments[5:8]
        vector = _vector(signature.args[0], vectors)
        tiles, channels = panels.shape[1], panels.shape[2]
        panel = _whole(vectors.count * vector.count)
        at = builder.add(builder.mul(tap, tiles), tile)
        weights = builder.gep(panels.data, [builder.mul(builder.mul(at, channels), panel)])
        sources = []
        for i in range(count.count):
            row = _index(builder, inputs.data, builder.add(pair, _whole(i)))
            sources.append(builder.gep(rows.data, [builder.mul(row, channels)]))

        def products(c):
            factors = _load(builder, builder.gep(weights, [builder.mul(c, panel)]), vector, vectors.count)
            return [(builder.gep(source, [c]), factors) for source in sources]

        sums = _sums(builder, _whole(0), channels, vector, count.count, vectors.count, products)
        for i, of_row in enumerate(sums):
            row = _index(builder, outputs.data, builder.add(pair, _whole(i)))
            place = builder.add(builder.mul(row, tiles), tile)
            _add_to(builder, builder.gep(out.data, [builder.mul(place, panel)]), of_row)
        return context.get_dummy_value()

    numbers = (types.int64,) * 3
    return types.void(rows, panels, inputs, outputs, out, *numbers, count, vectors), generate


@intrinsic
def _accumulate(
    typingctx, rows, gradients, inputs, outputs, found, begin, end, channel, column, count, vectors
):
    """found[channel + i, panel] += sum over pairs of rows[input, channel + i] * gradients[output, panel].

    The panel is the len(vectors) vectors from `column` on, the pairs are `begin` to `end` - 1, and i runs
    below len(count).
    """

    def generate(context, builder, signature, arguments):
        rows, gradients, inputs, outputs, found = _arrays(context, builder, signature, arguments[:5])
        begin, end, channel, column = arguments[5:9]
        vector = _vector(signature.args[0], vectors)
        channels, width = rows.shape[1], found.shape[1]

        def products(pair):
            source = builder.mul(_index(builder, inputs.data, pair), channels)
            source = builder.gep(rows.data, [builder.add(source, channel)])
            place = builder.mul(_index(builder, outputs.data, pair), width)
            place = builder.gep(gradients.data, [builder.add(place, column)])
            factors = _load(builder, place, vector, vectors.count)
            return [(builder.gep(source, [_whole(i)]), factors) for i in range(count.count)]

        for i, of_row in enumerate(_sums(builder, begin, end, vector, count.count, vectors.count, products)):
            place = builder.mul(builder.add(channel, _whole(i)), width)
            _add_to(builder, builder.gep(found.data, [builder.add(place, column)]), of_row)
        return context.get_dummy_value()

    numbers = (types.int64,) * 4
    return types.void(rows, gradients, inputs, outputs, found, *numbers, count, vectors), generate


def _sums(builder, begin, end, vector, count, vectors, products):
    """A loop whose count x vectors sums stay in registers; it runs at least once.

    `products(i)` gives for step i the place of a number and the vectors that it multiplies, for each of the
    `count` sums. What comes back are the vectors after the last step.
    """
    before, loop, done = builder.block, builder.append_basic_block(), builder.append_basic_block()
    builder.branch(loop)
    builder.position_at_end(loop)
    step = builder.phi(begin.type)
    step.add_incoming(begin, before)
    totals = [[builder.phi(vector) for _ in range(vectors)] for _ in range(count)]
    found = []
    for of_row, (place, factors) in zip(totals, products(step), strict=True):
        number = _splat(builder, builder.load(place), vector)
        pairs = zip(of_row, factors, strict=True)
        found.append([_add_product(builder, total, number, factor) for total, factor in pairs])
    for of_row, after in zip(totals, found, strict=True):
        for total, value in zip(of_row, after, strict=True):
            total.add_incoming(ir.Constant(vector, None), before)
            total.add_incoming(value, loop)
    following = builder.add(step, _whole(1))
    step.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, end), loop, done)
    builder.position_at_end(done)
    return found


def _arrays(context, builder, signature, arguments):
    """The arrays' places in memory (`data`) and numbers along their axes (`shape`)."""
    found = []
    for kind, value in zip(signature.args, arguments, strict=False):
        array = context.make_array(kind)(context, builder, value)
        shape = [builder.extract_value(array.shape, axis) for axis in range(kind.ndim)]
        found.append(_Array(array.data, shape))
    return found


def _vector(array: Any, vectors: Any) -> ir.VectorType:
    real = ir.FloatType() if array.dtype.bitwidth == 32 else ir.DoubleType()
    return ir.VectorType(real, vectors.dtype.count)


def _whole(number: int) -> ir.Constant:
    return ir.Constant(ir.IntType(64), number)


def _index(builder, array, place):
    return builder.sext(builder.load(builder.gep(array, [place])), ir.IntType(64))


def _splat(builder, number, vector):
    lone = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None)
    return builder.shuffle_vector(lone, ir.Constant(vector, ir.Undefined), mask)


def _add_product(builder, total, number, factor):
    """The vector total + number * factor, fused where the machine can."""
    product = builder.fmul(number, factor, flags=("contract",))
    return builder.fadd(total, product, flags=("contract",))


def _load(builder, pointer, vector, count: int):
    pointer = builder.bitcast(pointer, vector.as_pointer())
    size = 4 if isinstance(vector.element, ir.FloatType) else 8
    return [builder.load(builder.gep(pointer, [_whole(i)]), align=size) for i in range(count)]


def _add_to(builder, pointer, sums) -> None:
    """Add vectors to what memory holds."""
    vector = sums[0].type
    pointer = builder.bitcast(pointer, vector.as_pointer())
    size = 4 if isinstance(vector.element, ir.FloatType) else 8
    for i, total in enumerate(sums):
        place = builder.gep(pointer, [_whole(i)])
        builder.store(builder.fadd(builder.load(place, align=size), total), place, align=size)
