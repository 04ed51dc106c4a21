"""What the experiments are made of: learning to render, learning labels, scores, differences with intervals.

The steps are ours to the letter - batches, model, losses - without run folders around them. All arms of a
seed begin with the same weights and see the same scenes in the same order; nothing is chosen by a test score,
and scores are those of the last step. An interval is Student's over the seeds' differences.
"""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from benchmarks.harness import Row
from torch import Tensor, nn

from nonet.metrics.segmentation import Confusion
from nonet.metrics.stats import t_interval
from nonet.training.schedules import scheduler
from ponderv2.batches import Batch, Collate, Item, SceneDataset
from ponderv2.model_config import PonderConfig
from ponderv2.ponder import PonderModel, build_ponder
from ponderv2.scene_inputs import usable_views
from ponderv2.scenes import PointCloud, Scene, View
from ponderv2.segmentation_loss import SegmentationLoss
from ponderv2.semantic_heads import LinearHead
from ponderv2.spunet import SpUNet, build_spunet

CHANNELS = ("color", "normal")


class Held(Scene):
    """A scene that was read once and is kept in memory."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene.name, scene.dataset)
        self.up, self.classes = scene.up, scene.classes
        self._cloud = scene.cloud()
        self._views = usable_views(scene, range(len(scene.view_names)))

    @property
    def view_names(self) -> tuple[str, ...]:
        """Those that can be used."""
        return tuple(view.name for view in self._views)

    def cloud(self) -> PointCloud:
        """Kept."""
        return self._cloud

    def view(self, index: int) -> View:
        """Kept."""
        return self._views[index]


class Passes:
    """Batches of endless passes over a data set, each in an order of its own.

    Args:
        data: the scenes with their augmentations.
        count: items of a batch.
        kept: augmentations of a scene; they come again after as many passes, as they are as dear as a step.
    """

    def __init__(self, data: SceneDataset, count: int, kept: int) -> None:
        self.data, self.count, self.kept = data, count, kept
        self.collate = Collate(CHANNELS)
        self._items: dict[tuple[int, int], Item] = {}

    def __getitem__(self, step: int) -> Batch:
        chosen = []
        for place in range(step * self.count, (step + 1) * self.count):
            epoch, number = divmod(place, len(self.data))
            order = np.random.default_rng([self.data.seed, epoch]).permutation(len(self.data))
            key = epoch % self.kept, int(order[number])
            if key not in self._items:
                self._items[key] = self.data[key]
            chosen.append(self._items[key])
        return self.collate(chosen)


class Learned(NamedTuple):
    """A training: the mean losses of each of 10 parts of it, and its CPU seconds."""

    losses: list[float]
    seconds: float


def new_model(config: PonderConfig, seed: int) -> PonderModel:
    """First weights, which depend on the seed alone."""
    torch.manual_seed(seed)
    return build_ponder(config)


def learn_to_render(model: PonderModel, batches: Passes, *, steps: int, lr: float, seed: int) -> Learned:
    """Pre-train in place."""
    start = time.process_time()
    shake = torch.Generator().manual_seed(seed)

    def terms(step: int) -> Mapping[str, Tensor]:
        batch = batches[step]
        return model.losses(model(batch, shake), batch)

    losses = _descend(model.train(), terms, steps, lr, 1e-4)
    model.eval()
    return Learned(losses, time.process_time() - start)


class Segmenter(nn.Module):
    """A backbone with a linear layer."""

    def __init__(self, backbone: SpUNet, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = LinearHead(backbone.out_channels, {"all": classes})

    def forward(self, batch: Batch) -> Tensor:
        """(M, K) scores of a batch's voxels."""
        return self.head(self.backbone(batch.features, batch.cells))


def new_segmenter(config: PonderConfig, classes: int, seed: int, backbone: SpUNet | None = None) -> Segmenter:
    """With a copy of the backbone, or one from scratch; the head's weights depend on the seed alone."""
    torch.manual_seed(seed)
    fresh = build_spunet(config.backbone)
    torch.manual_seed(seed + 1)
    return Segmenter(fresh if backbone is None else copy.deepcopy(backbone), classes)


def learn_labels(model: Segmenter, batches: Passes, *, steps: int, lr: float) -> Learned:
    """Fine-tune in place, backbone and head."""
    start = time.process_time()
    loss_of = SegmentationLoss()

    def terms(step: int) -> Mapping[str, Tensor]:
        batch = batches[step]
        return loss_of(model(batch), batch.semantic)

    losses = _descend(model.train(), terms, steps, lr, 1e-2)
    model.eval()
    return Learned(losses, time.process_time() - start)


@torch.no_grad()
def miou(model: Callable[[Batch], Tensor], batches: Sequence[Batch], classes: int) -> float:
    """Percent: the mean over classes of intersection over union of all voxels."""
    confusion = Confusion(classes)
    for batch in batches:
        confusion.add(model(batch).argmax(1).numpy(), batch.semantic.numpy())
    return 100 * float(confusion.miou())


@torch.no_grad()
def frozen_features(backbone: SpUNet, batches: Sequence[Batch]) -> list[Tensor]:
    """(M, C) of each batch; norms do not learn."""
    backbone.eval()
    return [backbone(batch.features, batch.cells) for batch in batches]


def probe(
    backbone: SpUNet, train: Sequence[Batch], test: Sequence[Batch], classes: int, *, steps: int, seed: int
) -> float:
    """Percent mIoU of one linear layer on features that stay as they are, normalised by their spread."""
    seen, held = frozen_features(backbone, train), frozen_features(backbone, test)
    features, labels = torch.cat(seen), torch.cat([batch.semantic for batch in train])
    features, labels = features[labels >= 0], labels[labels >= 0]
    mean, spread = features.mean(0), features.std(0).clamp(min=1e-6)
    torch.manual_seed(seed)
    layer = nn.Linear(features.shape[1], classes)

    def terms(step: int) -> Mapping[str, Tensor]:
        return {"ce": nn.functional.cross_entropy(layer((features - mean) / spread), labels)}

    _descend(layer, terms, steps, 0.05, 1e-4)
    confusion = Confusion(classes)
    with torch.no_grad():
        for found, batch in zip(held, test, strict=True):
            confusion.add(layer((found - mean) / spread).argmax(1).numpy(), batch.semantic.numpy())
    return 100 * float(confusion.miou())


def _descend(
    module: nn.Module, terms: Callable[[int], Mapping[str, Tensor]], steps: int, lr: float, decay: float
) -> list[float]:
    weights = list(module.parameters())
    optimizer = torch.optim.AdamW(weights, lr=lr, weight_decay=decay)
    schedule = scheduler(optimizer, "cosine", warmup=max(1, steps // 10), steps=steps)
    losses = []
    for step in range(steps):
        loss = torch.stack(list(terms(step).values())).sum()
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is not finite in step {step}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return [float(np.mean(part)) for part in np.array_split(losses, min(10, steps))]


def told(values: Sequence[float], digits: int = 1) -> str:
    """The mean, and the standard deviation where there are several."""
    spread = f" (sd {np.std(values, ddof=1):.{digits}f})" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def contrast(
    name: str, first: Sequence[float], second: Sequence[float], *, higher: bool = True, digits: int = 1
) -> Row:
    """First minus second, seed by seed.

    Args:
        name: of the row.
        first: a value a seed.
        second: those of the other arm, same seeds.
        higher: more is better.
        digits: behind the point.
    """
    apart = [a - b for a, b in zip(first, second, strict=True)]
    row: Row = {"name": name, "difference": f"{np.mean(apart):+.{digits}f}"}
    if len(apart) > 1:
        _, low, high = t_interval(apart)
        better, worse = (low > 0, high < 0) if higher else (high < 0, low > 0)
        verdict = "better" if better else "worse" if worse else "no difference shown"
        row |= {"95 %": f"{low:+.{digits}f} to {high:+.{digits}f}", "verdict": verdict}
    return row | {"each seed": " ".join(f"{value:+.{digits}f}" for value in apart)}


def numbers(found: Sequence[Mapping[str, Any]], *keys: str) -> list[float]:
    """One number of each seed's result, by the keys that lead to it."""
    values = []
    for each in found:
        value: Any = each
        for key in keys:
            value = value[key]
        values.append(float(value))
    return values
