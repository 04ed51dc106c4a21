"""Boxes that may hold an object, without any training: segments of an image and what they merge to (ours).

The use is DETReg's (Bar et al. 2022), which takes the first 30 of selective search (Uijlings et al. 2013) on
a small copy of the image. Here pixels of a small copy are joined along their minimum spanning tree as long as
the step is small for the segments on both sides (Felzenszwalb and Huttenlocher 2004); neighbouring segments
are merged, those first whose union costs least in Ward's sense; and what stays by itself for longest on the
way up is proposed first.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.int64]

SIDE = 96  # pixels of the small copy's longer side
SCALE = 60.0  # grey levels: more makes larger segments at the start
LEAST = 12  # pixels of a segment at the start; smaller ones join a neighbour
MOST = 30  # proposals of an image, as in DETReg
SAME = 0.7  # IoU above which the weaker of two boxes is dropped


def propose(image: Any, most: int = MOST) -> Boxes:
    """Boxes x, y, width, height in whole pixels of an image, the best first; the whole image is none.

    Args:
        image: an RGB image of PIL.
        most: how many at most.

    Returns:
        (n, 4) int64, n <= most; an image of one colour has none.
    """
    width, height = image.size
    factor = min(1.0, SIDE / max(width, height))
    small = image.resize((max(1, round(width * factor)), max(1, round(height * factor))))
    colours = np.asarray(small, dtype=np.float64)
    found, strength = _merged(colours, segments(colours))
    rows, columns = colours.shape[:2]
    whole = (found[:, 2] - found[:, 0] == columns) & (found[:, 3] - found[:, 1] == rows)
    thin = np.minimum(found[:, 2] - found[:, 0], found[:, 3] - found[:, 1]) < 3
    kept = ~(whole | thin)
    boxes = _distinct(found[kept], strength[kept], most)
    scaled = boxes * np.array([width / columns, height / rows] * 2)
    low, high = np.floor(scaled[:, :2]), np.ceil(scaled[:, 2:])
    return np.concatenate([low, np.minimum(high, [width, height]) - low], axis=1).astype(np.int64)


def segments(colours: NDArray[np.float64], scale: float = SCALE, least: int = LEAST) -> NDArray[np.int64]:
    """The segment of each pixel, numbered from 0.

    Two segments on both sides of a step w of the spanning tree are joined if w is at most the greatest step
    inside each of them plus `scale` divided by its pixels.

    Args:
        colours: (rows, columns, 3) in 0..255.
        scale: see above.
        least: pixels; smaller segments are joined to the neighbour across the smallest step.

    Returns:
        (rows, columns) int64.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    rows, columns = colours.shape[:2]
    count = rows * columns
    left, right = neighbours(rows, columns)
    flat = colours.reshape(count, 3)
    steps = np.sqrt(((flat[left] - flat[right]) ** 2).sum(1)) + 1e-6  # a zero would be no edge
    tree = minimum_spanning_tree(coo_array((steps, (left, right)), shape=(count, count)).tocsr()).tocoo()
    order = np.argsort(tree.data, kind="stable")
    edges = list(
        zip(tree.row[order].tolist(), tree.col[order].tolist(), tree.data[order].tolist(), strict=True)
    )
    parent, size, inside = list(range(count)), [1] * count, [0.0] * count

    def root(pixel: int) -> int:
        while parent[pixel] != pixel:
            parent[pixel] = parent[parent[pixel]]
            pixel = parent[pixel]
        return pixel

    for small in (False, True):
        for one, two, step in edges:
            one, two = root(one), root(two)
            if one == two:
                continue
            if small:
                joins = min(size[one], size[two]) < least
            else:
                joins = step <= min(inside[one] + scale / size[one], inside[two] + scale / size[two])
            if joins:
                parent[two] = one
                size[one] += size[two]
                inside[one] = max(inside[one], inside[two], step)
    roots = np.array([root(pixel) for pixel in range(count)])
    return np.unique(roots, return_inverse=True)[1].reshape(rows, columns)


def neighbours(rows: int, columns: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of pixels, numbered row by row, that lie beside, above or across from each other, each once."""
    place = np.arange(rows * columns).reshape(rows, columns)
    pairs = [
        (place[:, :-1], place[:, 1:]),
        (place[:-1], place[1:]),
        (place[:-1, :-1], place[1:, 1:]),
        (place[:-1, 1:], place[1:, :-1]),
    ]
    return (
        np.concatenate([one.ravel() for one, _ in pairs]),
        np.concatenate([two.ravel() for _, two in pairs]),
    )


def _merged(
    colours: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes xyxy in pixels of all segments and of what they merge to, and how long each stays by itself."""
    count = int(labels.max()) + 1
    total = 2 * count - 1  # with the unions
    size, mean, box = np.zeros(total), np.zeros((total, 3)), np.zeros((total, 4))
    flat, pixels = labels.ravel(), colours.reshape(-1, 3)
    size[:count] = np.bincount(flat, minlength=count)
    for channel in range(3):
        mean[:count, channel] = np.bincount(flat, pixels[:, channel], count) / size[:count]
    y, x = np.indices(labels.shape)
    for place, (values, best) in enumerate(
        [(x, np.minimum), (y, np.minimum), (x + 1, np.maximum), (y + 1, np.maximum)]
    ):
        extreme = np.full(count, 1e9 if best is np.minimum else 0.0)
        best.at(extreme, flat, values.ravel())
        box[:count, place] = extreme
    one, two = neighbours(*labels.shape)
    touching = np.zeros((total, total), dtype=bool)
    touching[flat[one], flat[two]] = touching[flat[two], flat[one]] = True
    np.fill_diagonal(touching, False)
    cost = np.full((total, total), np.inf)
    born, died = np.zeros(total), np.full(total, np.nan)

    def price(segment: int) -> None:
        others = np.flatnonzero(touching[segment])
        weight = size[segment] * size[others] / (size[segment] + size[others])
        value = np.sqrt(weight * ((mean[segment] - mean[others]) ** 2).sum(1))
        cost[segment, others] = cost[others, segment] = value

    for segment in range(count):
        price(segment)
    level = 0.0
    for new in range(count, total):
        a, b = divmod(int(cost[:new, :new].argmin()), new)
        level = max(level, float(cost[a, b]))
        died[[a, b]], born[new] = level, level
        size[new] = size[a] + size[b]
        mean[new] = (size[a] * mean[a] + size[b] * mean[b]) / size[new]
        box[new] = [*np.minimum(box[a, :2], box[b, :2]), *np.maximum(box[a, 2:], box[b, 2:])]
        around = touching[a] | touching[b]
        touching[new], touching[:, new] = around, around
        for gone in (a, b, new):
            touching[gone, [a, b, new]] = False
        touching[[a, b]], touching[:, [a, b]] = False, False
        cost[[a, b]], cost[:, [a, b]] = np.inf, np.inf
        price(new)
    died[np.isnan(died)] = level
    return box, died - born


def _distinct(boxes: NDArray[np.float64], strength: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """The strongest boxes, without those that are nearly one of the stronger ones."""
    kept: list[NDArray[np.float64]] = []
    for place in np.argsort(-strength, kind="stable"):
        if len(kept) == most:
            break
        if not kept or _overlaps(boxes[place], np.array(kept)).max() <= SAME:
            kept.append(boxes[place])
    return np.array(kept).reshape(-1, 4)


def _overlaps(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of one box xyxy with each of others."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    both = np.clip(sides, 0, None).prod(1)
    area: Any = (others[:, 2:] - others[:, :2]).prod(1)
    found: NDArray[np.float64] = both / ((box[2:] - box[:2]).prod() + area - both)
    return found
