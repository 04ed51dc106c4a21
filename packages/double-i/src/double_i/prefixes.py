"""Which prompts share a beginning long enough to be read once. Source: ours.

Questions to one model share their template, and often the whole instruction. A group of prompts with a
common beginning of P tokens costs P plus what is left of each; groups are split where that gets cheaper.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

OVERHEAD = 48
"""tokens that one more pass is worth, on a small model and a CPU"""


class Group(NamedTuple):
    """Prompts whose first `shared` tokens are the same; each has at least one token more."""

    shared: int
    rows: list[int]


def group(prompts: Sequence[Sequence[int]], overhead: int = OVERHEAD) -> list[Group]:
    """Groups that cover every prompt once, in few tokens.

    Args:
        prompts: token ids of each, at least one token.
        overhead: tokens that a group costs on top; the larger, the fewer groups.

    Returns:
        The groups; a lone prompt, or prompts with little in common, may share 0 tokens.
    """
    order = sorted(range(len(prompts)), key=lambda row: tuple(prompts[row]))
    lengths = [len(prompts[row]) for row in order]
    if 0 in lengths:
        raise ValueError("a prompt without tokens")
    # equal prompts share all but the last token, which has to be read to know what follows
    common = [min(_common(prompts[a], prompts[b]), len(prompts[a]) - 1) for a, b in itertools.pairwise(order)]
    found: list[tuple[int, list[int]]] = []
    stack = [(0, len(order))] if order else []
    while stack:
        start, end = stack.pop()
        shared = min([*common[start : end - 1], min(lengths[start:end]) - 1])
        rest: list[int] = []
        first = start
        for place in range(start + 1, end + 1):  # parts between the places where no more than `shared` agrees
            if place < end and common[place - 1] > shared:
                continue
            part = (first, place)
            first = place
            if part == (start, end):
                rest += range(*part)
                continue
            deeper = min([*common[part[0] : part[1] - 1], min(lengths[part[0] : part[1]]) - 1])
            gain = (part[1] - part[0]) * (deeper - shared) - deeper - overhead
            if part[1] - part[0] > 1 and gain > 0:
                stack.append(part)
            else:
                rest += range(*part)
        if rest:
            found.append((shared, [order[place] for place in rest]))
    return [Group(shared if len(rows) > 1 else 0, rows) for shared, rows in found]


def batches(lengths: Sequence[int], rows: Sequence[int], size: int, *, even: bool = False) -> list[list[int]]:
    """Rows in order of length, cut into batches.

    Args:
        lengths: tokens that are left to read, of every prompt.
        rows: which prompts.
        size: rows of a batch at most.
        even: only rows of one length share a batch, so that nothing is padded.
    """
    ordered = sorted(rows, key=lambda row: lengths[row])
    found: list[list[int]] = []
    for row in ordered:
        last = found[-1] if found else []
        if not last or len(last) == size or (even and lengths[last[0]] != lengths[row]):
            found.append([row])
        else:
            last.append(row)
    return found


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    place = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        place += 1
    return place
