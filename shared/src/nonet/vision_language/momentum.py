"""A twin of a model whose weights follow the model's slowly: the teacher of momentum distillation.

ALBEF (Li et al. 2021, section 3.3): twin = decay * twin + (1 - decay) * model, decay .995, before the twin is
asked. Every weight of the twin follows, by name; the released code of mPLUG and TiMix forgets the fusion.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from nonet.errors import UserError


class Twin(nn.Module):  # type: ignore[misc]
    """A model's running mean, without gradient and without dropout.

    After n updates towards a model that stays the same, the twin's distance to it is decay^n of what it was.

    Args:
        model: what is followed; the twin begins as its copy.
        decay: share of itself that the twin keeps in an update, in [0, 1).
        skip: attributes of the model that nobody asks the twin for, such as `decoder`; they are None in it,
            and no memory goes to them.

    Attributes:
        model: the copy, in evaluation mode.

    Raises:
        UserError: decay is out of range, or the model has no such attribute.
    """

    def __init__(self, model: nn.Module, decay: float = 0.995, *, skip: Sequence[str] = ()) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise UserError(f"a decay of {decay:g} of the momentum model; it lies in [0, 1)")
        missing = [name for name in skip if not hasattr(model, name)]
        if missing:
            raise UserError(f"the model has no {missing[0]} that its twin could do without")
        self.decay, self.skip = decay, tuple(skip)
        memo = {id(getattr(model, name)): None for name in skip if getattr(model, name) is not None}
        self.model: Any = copy.deepcopy(model, memo)
        self.model.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Twin":
        """Stay in evaluation mode, whatever the model around it does."""
        super().train(False)
        return self

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def update(self, model: nn.Module) -> None:
        """One step towards the model.

        Raises:
            ValueError: the twin has a weight that the model does not.
        """
        mine, theirs = dict(self.model.named_parameters()), dict(model.named_parameters())
        lost = sorted(mine.keys() - theirs.keys())
        if lost:
            raise ValueError(f"the model has no {lost[0]}, which its twin has")
        if mine:
            sources = [theirs[name].detach() for name in mine]
            torch._foreach_lerp_(list(mine.values()), sources, 1 - self.decay)
        buffers = dict(model.named_buffers())
        for name, buffer in self.model.named_buffers():
            buffer.copy_(buffers[name])
