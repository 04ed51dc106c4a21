"""A linear probe: one linear layer on the features of a frozen backbone (Wu et al. 2025, Sonata, section 3).

Rendering as a pretext is criticised for what it scores here: the layer can only use what the features say.
The backbone's norms use their running statistics, and voxels and measure are those of `finetune semseg`.
Those of random weights never saw data: they are estimated first, by one pass over what is learned from, so
that the floor is that of a network that works.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nonet.runs import folder_of
from nonet.training.strategies import choose_accelerator
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
        resumed = folder_of(self.options.resume)
        kept = resumed is not None and (resumed / "checkpoints" / "last.ckpt").exists()
        if self.options.init is None and not kept:  # else the checkpoint brings them
            self._settle(model, say)
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

    def _settle(self, model: TaskModel, say: Say) -> None:
        """Give the norms of random weights their statistics."""
        trainer = self.options.trainer
        feed, device = self.learning(trainer.seed), choose_accelerator(trainer)
        items = list(feed.batches.epoch(0))
        batches = (
            feed.collate([feed.dataset[(0, int(item))] for item in each])["batch"].to(device)
            for each in items
        )
        features = model.features.to(device)
        settle_norms(features, batches, features)
        features.to("cpu")
        say(f"the norms of the random weights took their statistics from {len(items):,} batches of one pass")


@torch.no_grad()
def settle_norms(module: nn.Module, batches: Iterable[Batch], forward: Callable[[Batch], object]) -> None:
    """Estimate the running statistics of batch norms: their means over batches, all of equal weight.

    Args:
        module: holds the norms; it is left in evaluation mode.
        batches: at least one.
        forward: takes a batch through the norms.
    """
    norms = [each for each in module.modules() if isinstance(each, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a mean over all that was seen
    module.train()
    for batch in batches:
        forward(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.eval()


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
