"""What pre-training gives a detector of transformers, and what begins afresh in another task (ours).

A pre-trained detector is used as the class of transformers that it is: its tensors have that class's names.
Those that the pretext never reached are fresh there: class heads are for other classes anyway, and RT-DETR's
choice of queries plays no part in it.
"""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

_PARTS = (  # part, beginnings of its names without `model.`
    ("backbone", ("backbone.",)),
    ("classes", ("class_embed.", "decoder.class_embed.", "denoising_class_embed.")),
    ("query selection", ("enc_output.", "enc_score_head.", "enc_bbox_head.")),
    ("input", ("input_proj.", "encoder_input_proj.", "decoder_input_proj.", "level_embed")),
    ("encoder", ("encoder.",)),
    ("boxes", ("bbox_embed.", "decoder.bbox_embed.")),
    ("decoder", ("decoder.", "reference_points.")),
    ("queries", ("query_position_embeddings.",)),
)
FRESH = ("classes", "query selection")
"""parts that pre-training leaves as they were, or that are for its own class"""


class Part(NamedTuple):
    """A part of a detector.

    Attributes:
        name: such as `encoder`.
        numbers: how many are learnt or fixed in it.
        transferred: share of them that comes from pre-training, 0 or 1.
    """

    name: str
    numbers: int
    transferred: float


def transfer(state: Mapping[str, Tensor]) -> list[Part]:
    """What a pre-trained detector takes along into another task, part by part.

    Args:
        state: the detector's tensors, with the names of transformers.
    """
    counts: dict[str, int] = {}
    for name, tensor in state.items():
        if not name.endswith("num_batches_tracked"):
            part = part_of(name)
            counts[part] = counts.get(part, 0) + tensor.numel()
    return [Part(name, counts[name], float(name not in FRESH)) for name, _ in _PARTS if name in counts]


def transfer_line(parts: list[Part]) -> str:
    """The account in one line: what is pre-trained, and what begins afresh."""
    kept = sum(part.numbers for part in parts if part.transferred)
    total = sum(part.numbers for part in parts)
    fresh = [f"{part.name} ({part.numbers:,})" for part in parts if not part.transferred]
    return f"{kept / total:.1%} of {total:,} numbers are pre-trained; fresh: {', '.join(fresh) or 'nothing'}"


def part_of(name: str) -> str:
    """The part that a tensor with a name of transformers belongs to.

    Raises:
        KeyError: a name that neither class has.
    """
    inner = name.removeprefix("model.")
    for part, beginnings in _PARTS:
        if inner.startswith(beginnings):
            return part
    raise KeyError(name)
