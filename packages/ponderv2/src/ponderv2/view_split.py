"""Which views of a scene training does not see (ours)."""

from collections.abc import Sequence

import numpy as np

from ponderv2.scenes import Scene


def held_numbers(count: int, every: int) -> list[int]:
    """Numbers of the views that are held out of so many: every so-many-th, from the middle of the first.

    Args:
        count: views of the scene.
        every: 0: none. A scene of fewer views than that keeps all.
    """
    return list(range(every // 2, count, every)) if every and count >= every else []


def training_part(scene: Scene, every: int) -> Scene:
    """The scene without its held-out views."""
    held = set(held_numbers(len(scene.view_names), every))
    if not held:
        return scene
    return scene.with_views(number for number in range(len(scene.view_names)) if number not in held)


def spread(numbers: Sequence[int], most: int) -> list[int]:
    """So many of the numbers at most, evenly spaced and first in order, then the others.

    >>> spread([1, 2, 3, 4, 5], 2)
    [1, 5, 2, 3, 4]
    """
    if len(numbers) <= most:
        return list(numbers)
    places = {round(place) for place in np.linspace(0, len(numbers) - 1, most)}
    return [numbers[place] for place in sorted(places)] + [
        number for place, number in enumerate(numbers) if place not in places
    ]
