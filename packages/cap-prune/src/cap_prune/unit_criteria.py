"""Measures of heads and neurons to compare first-order importance with: size, size times input, chance.

`magnitude` and `wanda` look at what a unit writes: its columns of the output matrix, and, after Sun et al.
2024 (Wanda, there for single weights), the norm of its inputs on real examples. `random` is the control that
every criterion has to beat.
"""

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cap_prune.architectures import parts_of
from cap_prune.first_order import Loss
from cap_prune.representations import INPUTS
from cap_prune.unit_scores import UnitScores

# Shapes: d width, h live heads of size s, f live neurons, B examples, L pieces.

Batch = Mapping[str, Any]


def magnitude(model: Any, batches: Iterable[Batch], loss: Loss) -> UnitScores:
    """The norm of a unit's columns of the output matrix; neither examples nor loss are used."""
    return _written(model, None)


def random_units(model: Any, batches: Iterable[Batch], loss: Loss) -> UnitScores:
    """Uniform numbers that follow from the weights alone: a model gets the same, one of another seed not."""
    state = 0
    for weight in model.state_dict().values():
        state = zlib.crc32(weight.detach().cpu().reshape(-1).view(torch.uint8).numpy(), state)
    random = torch.Generator().manual_seed(state)
    parts = parts_of(model)
    heads = [torch.rand(each.query.out_features // each.head_size, generator=random) for each in parts]
    return UnitScores(heads, [torch.rand(each.output.in_features, generator=random) for each in parts])


@torch.no_grad()
def wanda(model: Any, batches: Iterable[Batch], loss: Loss) -> UnitScores:
    """The norm of a unit's columns, each times the norm of its input over all pieces but padding.

    Args:
        model: a supported encoder with head; it is run in evaluation mode.
        batches: on its device.
        loss: not used.
    """
    parts = parts_of(model)
    readers = [part for each in parts for part in (each.attention_output, each.output)]
    squares = [torch.zeros(part.in_features, device=part.weight.device) for part in readers]
    mask_BL = torch.ones(1, 1)

    def adder(total: Tensor) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            total.add_((inputs[0].float().square() * mask_BL[:, :, None]).flatten(0, -2).sum(0))

        return hook

    training = model.training
    model.eval()
    hooks = [
        part.register_forward_pre_hook(adder(total)) for part, total in zip(readers, squares, strict=True)
    ]
    try:
        for batch in batches:
            mask_BL = batch["attention_mask"].float()
            model(**{name: batch[name] for name in INPUTS if name in batch})
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for total in squares:
            torch.distributed.all_reduce(total)
    return _written(model, [total.sqrt() for total in squares])


@torch.no_grad()
def _written(model: Any, inputs: list[Tensor] | None) -> UnitScores:
    """Norms of the units' columns, times those of the inputs (attention and feed-forward in turns)."""
    heads, neurons = [], []
    for layer, parts in enumerate(parts_of(model)):
        found = []
        for at, part in enumerate((parts.attention_output, parts.output)):
            squares = part.weight.float().square().sum(0)
            found.append(squares if inputs is None else squares * inputs[2 * layer + at].square())
        heads.append(found[0].view(-1, parts.head_size).sum(1).sqrt())
        neurons.append(found[1].sqrt())
    return UnitScores(heads, neurons)
