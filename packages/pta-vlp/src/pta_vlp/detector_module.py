"""A patch detector that learns alone, beside a model whose weights stay as they are (ours)."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from nonet.training.optimizers import build_optimizer
from nonet.training.options import OptimizerOptions
from nonet.training.trainer import global_mean
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.patch_alignment import PatchMeasures, patch_alignment_loss
from nonet.vision_language.patch_detector import PatchDetector

# Shapes: R images, E texts of regions, N patches, d width.

MODEL = "model."  # of the names of weights that checkpoints leave out: the model's folder has them


class DetectorModule(L.LightningModule):  # type: ignore[misc]
    """A detector in training.

    Logs `train/pta`, its accuracy and recall, and `val/ap`, `val/f1`, `val/recall@0.5` and more of
    `PatchMeasures`, in 0..1, over whole images that are kept out.

    Args:
        model: sees images and texts; it is in evaluation mode, and has no gradient.
        detector: what is trained.
        optimizer: of its weights.
        block: vision block behind which it looks, from 0.
        steps: of the whole run.
        keeps: shares of the patches for recall at keep.
    """

    def __init__(
        self, model: PairModel, detector: PatchDetector, optimizer: OptimizerOptions, *, block: int,
        steps: int, keeps: tuple[float, ...] = (0.3, 0.5, 0.7),
    ) -> None:  # fmt: skip
        super().__init__()
        self.model, self.detector, self.optimizer_options = model.requires_grad_(False), detector, optimizer
        self.block, self.steps, self.keeps = block, steps, keeps
        self._parts: list[tuple[Tensor, Tensor]] = []
        self._lost = 0
        self.strict_loading = False  # checkpoints have the detector alone
        # DDP would send the model to every process; each has read it.
        self._ddp_params_and_buffers_to_ignore = [MODEL + name for name in model.state_dict()]

    def train(self, mode: bool = True) -> "DetectorModule":
        """The model stays in evaluation mode."""
        super().train(mode)
        self.model.eval()
        return self

    def logits(self, batch: Mapping[str, Any]) -> Tensor:
        """(E, N, 2) of a batch of regions; a gradient reaches the detector."""
        with torch.no_grad():
            vision = self.model.vision
            patches = vision.blocks(vision.embed(batch["images"]), 0, self.block + 1)[:, 1:]
            text = self.model.encode_text(batch["input_ids"], batch["attention_mask"])[:, 0]
        found: Tensor = self.detector(patches, text, batch["of_image"])
        return found

    def training_step(self, batch: dict[str, Any], _: int) -> Tensor:
        """The mean loss over the regions of all processes."""
        found = patch_alignment_loss(self.logits(batch), batch["masks"])
        count = torch.tensor(len(batch["masks"]), device=found.loss.device)
        loss = global_mean(found.loss * count, count)
        aux = {f"train/pta_{name}": global_mean(found.aux[name] * count, count) for name in found.aux}
        self.log_dict({"train/loss": loss.detach(), "train/pta": loss.detach()} | aux, batch_size=1)
        return loss

    def validation_step(self, batch: dict[str, Any], _: int) -> None:
        """Scores of whole images."""
        self._lost += len(batch["unreadable"])
        if "images" in batch:
            self._parts.append((PatchDetector.score(self.logits(batch)).cpu(), batch["masks"].cpu()))

    def on_validation_epoch_end(self) -> None:
        """Measures over all of them, those of all processes."""
        (parts, self._parts), (lost, self._lost) = (self._parts, []), (self._lost, 0)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            every: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(every, (parts, lost))
            parts = [part for theirs, _ in every for part in theirs]
            lost = sum(count for _, count in every)
        measures = PatchMeasures(self.keeps)
        for scores, masks in parts:
            measures.add(scores, masks)
        found = measures.result() | ({"unreadable": float(lost)} if lost else {})
        self.log_dict({f"val/{name}": value for name, value in found.items()}, batch_size=1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the model out."""
        weights = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: weights[name] for name in weights if not name.startswith(MODEL)}

    def configure_optimizers(self) -> object:
        """The optimiser of the detector's weights, and its schedule."""
        return build_optimizer(_alone(self.detector), self.optimizer_options, steps=self.steps)


def _alone(detector: PatchDetector) -> nn.Module:
    return nn.ModuleDict({"detector": detector})
