"""A linear probe: one linear layer on the features of a frozen backbone (Wu et al. 2025, Sonata, section 3).

Rendering as a pretext is criticised for what it scores here: the layer can only use what the features say.
The backbone's norms use their running statistics, and voxels and measure are those of `finetune semseg`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ponderv2.batches import Batch, Collate
from ponderv2.finetuning import finetune
from ponderv2.mixed_batches import MixedScenes
from ponderv2.room_tasks import Feed, RoomTask
from ponderv2.scored_scenes import ScoredScenes, TrainCollate
from ponderv2.segmentor import PromptedBackbone
from ponderv2.task_models import TaskModel

Say = Callable[[str], None]

MIB = 2**20  # bytes


class KeptFeatures(PromptedBackbone):
    """A frozen backbone that remembers the features of scenes that it has seen.

    Each scene is computed alone, so that the numbers do not depend on what else is in the batch.

    Args:
        features: the backbone with its prompt.
        memory: MiB of features kept; 0: none.
    """

    def __init__(self, features: PromptedBackbone, memory: int) -> None:
        super().__init__(features.backbone, features.prompt)
        self.requires_grad_(False)
        self._left = memory * MIB
        self._kept: dict[str, Tensor] = {}

    @torch.no_grad()
    def forward(self, batch: Batch) -> Tensor:
        """(M, C) features of a batch's voxels."""
        starts = torch.searchsorted(
            batch.cells[:, 0].contiguous(), torch.arange(len(batch) + 1, device=batch.cells.device)
        )
        found = []
        for number in range(len(batch)):
            own = slice(int(starts[number]), int(starts[number + 1]))
            cells = batch.cells[own].clone()
            cells[:, 0] = 0
            found.append(self._of(replace(batch, cells=cells, features=batch.features[own])))
        return torch.cat(found)

    def _of(self, batch: Batch) -> Tensor:
        digest = hashlib.sha1(batch.dataset.encode())
        for part in (batch.cells, batch.features):
            digest.update(part.cpu().numpy().tobytes())
        key = digest.hexdigest()
        if key in self._kept:
            return self._kept[key].to(batch.features.device)
        features = super().forward(batch)
        size = features.numel() * features.element_size()
        if size <= self._left:
            self._left -= size
            self._kept[key] = features.cpu()
        return features


class ProbeTask(RoomTask):
    """Semantic segmentation by one linear layer.

    Args:
        options: of the verb `probe`.
        say: takes remarks.
    """

    def __init__(self, options: Any, say: Say) -> None:
        super().__init__(options, "semseg", say)

    def build(self, say: Say) -> TaskModel:
        """The model with a frozen backbone."""
        model = super().build(say)
        memory = self.options.memory if self.options.augment == "none" else 0
        model.features = KeptFeatures(model.features, memory)
        return model

    def learning(self, seed: int) -> Feed:
        """What is learned from: the voxels that are scored, unless the options want more."""
        feed = super().learning(seed)
        if self.options.augment != "none" or self.options.crop:
            return feed
        parts = [_Items(ScoredScenes(part, self.config.voxel)) for part in self.train.parts()]
        return Feed(MixedScenes(parts), feed.batches, TrainCollate(Collate(self.config.channels)))


class _Items:
    """The voxels of scored scenes, without what scores need."""

    def __init__(self, scenes: ScoredScenes) -> None:
        self.scenes = scenes

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, item: tuple[int, int]) -> Any:
        return self.scenes[item].item


def probe(options: Any) -> None:
    """Train the layer, score it, save model and page; prints the run's folder.

    Raises:
        UserError: what cannot work is refused before there is a run folder.
    """
    finetune("probe", options, lambda say: ProbeTask(options, say))
