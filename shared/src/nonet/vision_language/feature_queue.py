"""Features of the last pairs seen, as further negatives (He et al. 2020, MoCo; ALBEF, Li et al. 2021).

A ring: new pairs take the place of the oldest. It begins empty rather than with random vectors, and takes
batches of any size, where the released code asks that they divide the ring.
"""

from typing import Any

import torch
from torch import Tensor, nn

from nonet.errors import UserError

NOBODY = -1  # id of a place that no pair is in


class FeatureQueue(nn.Module):  # type: ignore[misc]
    """Image features, text features and image numbers of earlier pairs; part of a checkpoint.

    Args:
        size: pairs that it holds, 65536 in ALBEF.
        embed: e, size of the shared space.
        reset: begin empty where a checkpoint has a queue of another size, rather than refuse it.

    Raises:
        UserError: no place for a pair.
    """

    images: Tensor
    texts: Tensor
    ids: Tensor

    def __init__(self, size: int, embed: int, *, reset: bool = False) -> None:
        super().__init__()
        if size < 1 or embed < 1:
            raise UserError(f"a queue of {size} pairs of {embed} numbers; both are at least 1")
        self.size, self.reset = size, reset
        self.filled, self.next = 0, 0
        self.register_buffer("images", torch.zeros(size, embed))
        self.register_buffer("texts", torch.zeros(size, embed))
        self.register_buffer("ids", torch.full((size,), NOBODY))

    def __len__(self) -> int:
        """Pairs in it."""
        return self.filled

    def earlier(self) -> tuple[Tensor, Tensor, Tensor]:
        """Features of images and of texts (n, e) float32 and numbers of images (n,) int64, in no order.

        They are views: the next `push` writes over them.
        """
        return self.images[: self.filled], self.texts[: self.filled], self.ids[: self.filled]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def push(self, images: Tensor, texts: Tensor, ids: Tensor | None = None) -> None:
        """Put pairs in, in place of the oldest; of more than there is room for, the last ones.

        Args:
            images: (n, e) float, of all processes. What is not finite goes in as 0.
            texts: (n, e) float.
            ids: (n,) int64: numbers of images; None: none is known.

        Raises:
            ValueError: shapes do not fit.
        """
        count = len(images)
        if images.shape != texts.shape or images.shape[1:] != self.images.shape[1:]:
            raise ValueError(
                f"images {tuple(images.shape)} and texts {tuple(texts.shape)} do not fit a queue of "
                f"{tuple(self.images.shape)}"
            )
        if ids is None:
            ids = torch.full((count,), NOBODY, device=images.device)
        start = max(count - self.size, 0)
        places = (self.next + torch.arange(start, count, device=self.ids.device)) % self.size
        for ring, new in ((self.images, images), (self.texts, texts)):
            ring[places] = torch.nan_to_num(new.detach()[start:].to(ring), posinf=0.0, neginf=0.0)
        self.ids[places] = ids[start:].to(self.ids)
        self.next = (self.next + count) % self.size
        self.filled = min(self.filled + count, self.size)

    def get_extra_state(self) -> dict[str, int]:
        """How far it is filled, and where the next pair goes."""
        return {"filled": self.filled, "next": self.next}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Go on there."""
        self.filled, self.next = state["filled"], state["next"]

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        found = state.get(f"{prefix}images")
        if found is not None and found.shape != self.images.shape:
            if not self.reset:
                raise UserError(
                    f"the checkpoint's queue has {found.shape[0]} pairs of {found.shape[1]} numbers, this "
                    f"one {self.size} of {self.images.shape[1]}: resume with that size, or empty the queue"
                )
            self.filled = self.next = 0
            state[f"{prefix}images"] = torch.zeros_like(self.images)
            state[f"{prefix}texts"] = torch.zeros_like(self.texts)
            state[f"{prefix}ids"] = torch.full_like(self.ids, NOBODY)
            state[f"{prefix}_extra_state"] = {"filled": 0, "next": 0}
        super()._load_from_state_dict(state, prefix, *rest)
