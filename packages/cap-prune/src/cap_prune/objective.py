"""What a student is trained on: labels, teacher and contrast (Xu et al. 2022, section 3, last equation).

    L = w_ce CE + w_kd T^2 KL(teacher || student) + sum over banks of (lambda_u L_u + lambda_s L_s)

Every term is a sum over this device's examples and the number that divides it, so that means over any number
of devices are means over their examples together.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from cap_prune.contrast import Contrast, Term
from cap_prune.distillation import TeacherLogits, distil
from cap_prune.representations import Align, Outputs, outputs
from nonet.training.trainer import global_mean

# Shapes: B examples, L pieces, C labels.

Kind = Literal["classification", "regression", "qa"]
OUTSIDE = -100  # a position that does not count


class Objective:
    """The training loss of a student, or of a teacher (without teacher and contrast).

    Args:
        kind: of the task: classification (cross-entropy), regression (squared error), or qa (cross-entropy of
            start and end, half each, over an example's pieces).
        align: which vector stands for an example.
        ce: weight of the labels.
        kd: weight of the teacher.
        temperature: of both sides' logits in the distillation.
        teacher: its logits for every training example.
        contrast: with banks; None: none.

    Raises:
        ValueError: `kd` without a teacher, or nothing to train on.
    """

    def __init__(
        self,
        kind: Kind,
        *,
        align: Align = "mean-pooling",
        ce: float = 0.1,
        kd: float = 0.9,
        temperature: float = 1.0,
        teacher: TeacherLogits | None = None,
        contrast: Contrast | None = None,
    ) -> None:
        if kd and teacher is None:
            raise ValueError(f"kd is {kd:g} and there is no teacher")
        if not (ce or kd or contrast is not None):
            raise ValueError("every weight is 0: there is nothing to train on")
        self.kind, self.align, self.ce, self.kd, self.temperature = kind, align, ce, kd, temperature
        self.teacher, self.contrast = teacher, contrast

    def __call__(self, model: Any, batch: Mapping[str, Any], step: int = 0) -> dict[str, Term]:
        """The weighted terms by name: `ce` (for qa `ce_start`, `ce_end`), `kd`, and those of `Contrast`.

        Args:
            model: the student, in whichever mode.
            batch: the model's inputs, `index` (B,), and `labels` (B,), or `starts` and `ends` (B,);
                a position that is no piece of the example does not count.
            step: number of the training step, for the draws of the contrast.

        Returns:
            (sum, number) of each.
        """
        found = outputs(model, batch, self.align)
        terms: dict[str, Term] = {}
        if self.ce:
            terms |= {name: (self.ce * total, count) for name, (total, count) in self._labels(found, batch)}
        if self.kd and self.teacher is not None:
            wanted = self.teacher.rows(batch["index"], found.logits)
            total, count = distil(
                found.logits, wanted, self.temperature, regression=self.kind == "regression",
                mask=batch["attention_mask"] if self.kind == "qa" else None,
            )  # fmt: skip
            terms["kd"] = self.kd * total, count
        if self.contrast is not None:
            terms |= self.contrast(found.z, batch["index"], step)
        return terms

    def loss(self, model: Any, batch: Mapping[str, Any], step: int = 0) -> Tensor:
        """The sum of the terms' means over all devices; a scalar with the gradient that DDP needs."""
        return total(self(model, batch, step))

    def _labels(self, found: Outputs, batch: Mapping[str, Any]) -> list[tuple[str, Term]]:
        if self.kind == "qa":
            mask_BL = batch["attention_mask"].bool()
            return [
                (f"ce_{side}", _half(_position_loss(logits.float(), batch[f"{side}s"], mask_BL)))
                for side, logits in zip(("start", "end"), found.logits, strict=True)
            ]
        logits, labels = found.logits[0].float(), batch["labels"]
        count = torch.full((), float(len(labels)), device=logits.device)
        if self.kind == "regression":
            return [("ce", (F.mse_loss(logits[:, 0], labels.float(), reduction="sum"), count))]
        return [("ce", (F.cross_entropy(logits, labels, reduction="sum"), count))]


def total(terms: Mapping[str, Term]) -> Tensor:
    """The loss: the sum of the terms' means over all devices."""
    return torch.stack([global_mean(*term) for term in terms.values()]).sum()


def _position_loss(logits_BL: Tensor, place_B: Tensor, mask_BL: Tensor) -> Term:
    """Cross-entropy over an example's pieces, and the number of examples whose place is one of them."""
    L = logits_BL.shape[1]
    inside_B = (place_B >= 0) & (place_B < L)
    inside_B &= mask_BL.gather(1, place_B.clamp(0, L - 1)[:, None])[:, 0]
    logits_BL = logits_BL.masked_fill(~mask_BL, float("-inf"))
    targets_B = torch.where(inside_B, place_B, OUTSIDE)
    return F.cross_entropy(logits_BL, targets_B, ignore_index=OUTSIDE, reduction="sum"), inside_B.sum()


def _half(term: Term) -> Term:
    return term[0] / 2, term[1]
