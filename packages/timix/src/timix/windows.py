"""How large the squares may be, who is mixed with whom, and squares at random (paper; released `TPMix.py`).

Sides are whole patches, uniform in floor(G r_min) .. floor(G r_max), where G is the shorter side of the grid:
5..12 of 16 by default, so that 9.8 % to 56.3 % of a picture are pasted, 30.3 % in the mean. The released code
pairs picture i with B - 1 - i, and the middle one of an odd batch with itself; here none meets itself.
"""

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError

Partner = Literal["flip", "roll", "derange"]
Ints = NDArray[np.int64]

ROUNDING = 1e-9  # 100 * 0.29 is 28.999999999999996, and 29 patches are meant


def side_range(grid: tuple[int, int], r_min: float, r_max: float, *, clamp: bool = False) -> tuple[int, int]:
    """The least and the greatest side of a pasted square, in patches.

    Args:
        grid: height and width of a picture in patches.
        r_min: least share of the grid's shorter side.
        r_max: greatest share of it.
        clamp: move what does not fit into 1 .. shorter side - 1, rather than refuse it.

    Raises:
        UserError: r_min is above r_max, the least square is below one patch, or the greatest is a whole
            picture.
    """
    shorter = min(grid)
    if shorter < 2:
        raise UserError(
            f"a grid of {grid[0]} x {grid[1]} patches cannot be mixed by patches: take smaller ones"
        )
    if not (math.isfinite(r_min) and math.isfinite(r_max)) or r_min > r_max:
        raise UserError(
            f"r_min {r_min:g} is above r_max {r_max:g}: the least square cannot be the larger one"
        )
    least, most = (math.floor(shorter * share + ROUNDING) for share in (r_min, r_max))
    if clamp:
        return min(max(least, 1), shorter - 1), min(max(most, 1), shorter - 1)
    if least < 1:
        raise UserError(
            f"r_min {r_min:g} of {shorter} patches is less than one: give {1 / shorter:.3g} or more, or clamp"
        )
    if r_max >= 1:
        raise UserError(f"r_max {r_max:g} would paste a whole picture: give less than 1, or clamp")
    return least, most


def partners(count: int, how: Partner, random: np.random.Generator) -> Ints:
    """Whose square each of `count` pictures gets: a permutation without a fixed point.

    Args:
        count: pictures, at least 2.
        how: flip, B - 1 - i (of an odd count: as derange); roll, i + 1; derange, at random.
        random: where the random ones come from.

    Raises:
        UserError: there is no such way, or fewer than two pictures.
    """
    if how not in get_args(Partner):
        raise UserError(f"partner {how}: say {', '.join(get_args(Partner))}")
    if count < 2:
        raise UserError(f"{count} pictures cannot be mixed: two are needed")
    if how == "roll":
        return np.roll(np.arange(count), -1)
    if how == "flip" and count % 2 == 0:
        return np.arange(count)[::-1].copy()
    while True:  # one of e = 2.718 permutations is free of fixed points
        order = random.permutation(count)
        if (order != np.arange(count)).all():
            return order


def random_places(grid: tuple[int, int], sides: Ints, random: np.random.Generator) -> Ints:
    """Upper left places of squares, uniform over those that fit.

    Args:
        grid: height and width in patches.
        sides: (M,) of the squares.
        random: where they come from.

    Returns:
        (M, 2) as (y, x).
    """
    room = np.array(grid) - sides[:, None] + 1
    return random.integers(0, room)
