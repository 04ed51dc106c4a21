"""Random numbers that are a function of (seed, epoch, document, purpose, count), and of nothing else (ours).

`purpose` tells independent streams of numbers for one document apart; each package numbers its own.

A generator object would make a draw depend on the draws before it, hence on the order of the documents and
the number of workers. Here each draw is hashed from its coordinates with the finaliser of SplitMix64
(Steele, Lea and Flood 2014), so that any worker at any time gets the same number.
"""

import math

import numba
import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@numba.njit(cache=True, nogil=True)
def _mix(z):
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
def stream(seed: int, epoch: int, document: int, purpose: int) -> np.uint64:
    """What all numbers of one purpose of a document are hashed from, by `uniform_at`; uint64."""
    z = _mix(np.uint64(seed) + _GOLDEN)
    z = _mix(z + np.uint64(epoch) * _GOLDEN + _GOLDEN)
    z = _mix(z + np.uint64(document) * _GOLDEN + _GOLDEN)
    return np.uint64(_mix(z + np.uint64(purpose) * _GOLDEN + _GOLDEN))


@numba.njit(cache=True, nogil=True)
def uniform_at(stream: np.uint64, count: int) -> float:
    """`uniform(seed, epoch, document, purpose, count)` for a stream that is at hand."""
    z = _mix(np.uint64(stream) + np.uint64(count) * _GOLDEN + _GOLDEN)
    return float(z >> np.uint64(11)) * 2.0**-53


@numba.njit(cache=True, nogil=True)
def uniform(seed: int, epoch: int, document: int, purpose: int, count: int) -> float:
    """A float64 in [0, 1) with 53 random bits. All arguments are integers of 64 bits."""
    return float(uniform_at(stream(seed, epoch, document, purpose), count))


@numba.njit(cache=True, nogil=True)
def below(limit: int, seed: int, epoch: int, document: int, purpose: int, count: int) -> int:
    """An integer in [0, limit); the bias is below limit * 2^-53."""
    return int(uniform(seed, epoch, document, purpose, count) * limit)


@numba.njit(cache=True, nogil=True)
def gauss(seed: int, epoch: int, document: int, purpose: int, count: int) -> float:
    """A standard normal number (Box and Muller 1958)."""
    radius = math.sqrt(-2.0 * math.log(1.0 - uniform(seed, epoch, document, purpose, 2 * count)))
    return radius * math.cos(2.0 * math.pi * uniform(seed, epoch, document, purpose, 2 * count + 1))


@numba.njit(cache=True, nogil=True)
def shuffled(n: int, take: int, seed: int, epoch: int, document: int, purpose: int) -> np.ndarray:
    """The first `take` of a random order of 0..n-1 (int64), by Fisher and Yates."""
    order = np.arange(n)
    for i in range(take):
        j = i + below(n - i, seed, epoch, document, purpose, i)
        order[i], order[j] = order[j], order[i]
    return order[:take]
