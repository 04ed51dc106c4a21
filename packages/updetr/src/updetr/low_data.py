"""Parts of a labelled data set for studies with few labels.

Fraction: a random share of the images, as with 1, 2, 5 and 10 % of COCO, over several seeds. Shots: images
until each class has k boxes; or exactly k boxes a class and no others, as the few-shot splits of Wang et al.
2020 (TFA). Draws depend on the seed and the files' names, not on their order: a smaller fraction of the same
seed is a part of a larger one.
"""

from nonet.data.batching import generator
from nonet.data.labelled_boxes import LabelledImages, listed
from nonet.errors import UserError


def subset(
    data: LabelledImages,
    *,
    fraction: float | None = None,
    shots: int | None = None,
    exact: bool = False,
    seed: int = 0,
) -> LabelledImages:
    """A part of the data set, or all of it where neither a fraction nor shots are given.

    Args:
        data: the data set.
        fraction: see `fraction_of`.
        shots: see `shots_of`, as is `exact`.
        exact: without shots it means nothing.
        seed: of the draw.

    Raises:
        UserError: both are given, or what `fraction_of` and `shots_of` refuse.
    """
    if fraction is not None and shots is not None:
        raise UserError("give a fraction or shots, not both")
    if fraction is not None:
        return fraction_of(data, fraction, seed)
    return data if shots is None else shots_of(data, shots, seed, exact=exact)


def fraction_of(data: LabelledImages, share: float, seed: int) -> LabelledImages:
    """A random share of the images, at least one, in the data's order.

    Raises:
        UserError: the share is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise UserError(f"fraction is {share:g}; it lies in (0, 1]")
    count = max(1, round(share * len(data)))
    return data.take(sorted(_order(data, seed)[:count]))


def shots_of(data: LabelledImages, shots: int, seed: int, *, exact: bool = False) -> LabelledImages:
    """Few boxes of each class.

    Classes are served from the rarest to the commonest, each from images in random order until it has enough.

    Args:
        data: the data set.
        shots: boxes of each class.
        seed: of the draw.
        exact: exactly `shots` boxes of each class remain and the other boxes of the images chosen are taken
            out, so that what they show counts as background. Otherwise images keep all their boxes, and
            common classes have more than `shots`.

    Raises:
        UserError: `shots` is not positive, or a class has fewer boxes; the classes are named.
    """
    if shots < 1:
        raise UserError(f"shots is {shots}; it is 1 or more")
    counts = data.boxes_a_class()
    few = [f"{name} ({count})" for name, count in zip(data.names, counts, strict=True) if 0 < count < shots]
    if few:
        raise UserError(f"{shots} shots, but fewer boxes of {listed(few)}")
    order = _order(data, seed)
    held = dict.fromkeys(range(len(data.names)), 0)
    chosen: dict[int, list[int]] = {}  # image -> rows that count as shots
    for label in sorted((c for c in held if counts[c]), key=lambda c: (counts[c], c)):
        for place in order:
            if held[label] >= shots:
                break
            if not exact and place in chosen:
                continue  # its boxes are counted already
            image = data.images[place]
            rows = [row for row in range(len(image.labels)) if not image.crowd[row]]
            mine = [row for row in rows if image.labels[row] == label]
            if not mine:
                continue
            taken = mine[: shots - held[label]] if exact else rows
            chosen.setdefault(place, []).extend(taken)
            for row in taken:
                held[int(image.labels[row])] += 1
    part = data.take(sorted(chosen))
    if not exact:
        return part
    rows_of = [sorted(chosen[place]) for place in sorted(chosen)]
    part.images[:] = [image.keep(rows) for image, rows in zip(part.images, rows_of, strict=True)]
    return part


def _order(data: LabelledImages, seed: int) -> list[int]:
    """The images in random order, whatever order they are in."""
    by_name = sorted(range(len(data)), key=lambda i: (data.images[i].path.name, str(data.images[i].path)))
    return [by_name[i] for i in generator(seed, "low data").permutation(len(data)).tolist()]
