"""What the experiments are made of: learning to render, learning labels, scores, differences with intervals.

The steps are ours to the letter - batches, model, losses - without run folders around them. All arms of a
seed begin with the same weights and see the same scenes in the same order; nothing is chosen by a test score,
and scores are those of the last step. The clock counts steps, and not the augmentation of clouds, which are
made before it starts and shared by arms.

An interval is Student's over the seeds' differences: over weights and draws, not over scenes, which are the
same for all. One contrast of an experiment is its primary one, named before the run; the others' p-values are
adjusted for their number by Holm's method, and say no more than that.
"""

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from benchmarks.harness import Row
from torch import Tensor, nn

from nonet.metrics.segmentation import Confusion
from nonet.metrics.stats import holm, t_inside, t_interval
from nonet.training.schedules import scheduler
from ponderv2.batches import Batch, Collate, Item, SceneDataset
from ponderv2.model_config import PonderConfig
from ponderv2.ponder import PonderModel, build_ponder
from ponderv2.probing import settle_norms
from ponderv2.scene_inputs import usable_views
from ponderv2.scenes import PointCloud, Scene, View
from ponderv2.segmentation_loss import SegmentationLoss
from ponderv2.semantic_heads import LinearHead
from ponderv2.spunet import SpUNet, build_spunet
from ponderv2.view_rendering import shrunk

LEVEL = 0.05
"""p-values below are a difference"""
CHANNELS = ("color", "normal")


class Held(Scene):
    """A scene that was read once and is kept in memory.

    Args:
        scene: where from.
        shrink: pixels of its views for one that is kept, along both sides; its cloud is the same.
    """

    def __init__(self, scene: Scene, shrink: int = 1) -> None:
        super().__init__(scene.name, scene.dataset)
        self.up, self.classes = scene.up, scene.classes
        self._cloud = scene.cloud()
        views = usable_views(scene, range(len(scene.view_names)))
        self._views = [shrunk(view, shrink) for view in views]

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
        kept: augmentations of a scene; they come again after as many passes.
    """

    def __init__(self, data: SceneDataset, count: int, kept: int) -> None:
        self.data, self.count, self.kept = data, count, kept
        self.collate = Collate(CHANNELS)
        self._items: dict[tuple[int, int], Item] = {}

    def __getitem__(self, step: int) -> Batch:
        return self.collate([self._item(key) for key in self._keys(step)])

    def with_kept(self, kept: int) -> "Passes":
        """The same with another number of augmentations; those that both have are made once."""
        other = Passes(self.data, self.count, kept)
        other._items = self._items
        return other

    def fill(self, steps: int) -> None:
        """Make the augmentations of so many steps, so that no clock counts them."""
        for step in range(steps):
            for key in self._keys(step):
                self._item(key)

    def _item(self, key: tuple[int, int]) -> Item:
        if key not in self._items:
            self._items[key] = self.data[key]
        return self._items[key]

    def _keys(self, step: int) -> list[tuple[int, int]]:
        """Pass and scene of a batch's items."""
        keys = []
        for place in range(step * self.count, (step + 1) * self.count):
            epoch, number = divmod(place, len(self.data))
            order = np.random.default_rng([self.data.seed, epoch]).permutation(len(self.data))
            keys.append((epoch % self.kept, int(order[number])))
        return keys


class Learned(NamedTuple):
    """A training: the mean losses of each of 10 parts of it, and the CPU seconds of its steps."""

    losses: list[float]
    seconds: float


def new_model(config: PonderConfig, seed: int) -> PonderModel:
    """First weights, which depend on the seed alone."""
    torch.manual_seed(seed)
    return build_ponder(config)


def learn_to_render(model: PonderModel, batches: Passes, *, steps: int, lr: float, seed: int) -> Learned:
    """Pre-train in place."""
    batches.fill(steps)
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
    batches.fill(steps)
    start = time.process_time()
    loss_of = SegmentationLoss()

    def terms(step: int) -> Mapping[str, Tensor]:
        batch = batches[step]
        return loss_of(model(batch), batch.semantic)

    losses = _descend(model.train(), terms, steps, lr, 1e-2)
    model.eval()
    return Learned(losses, time.process_time() - start)


def settled(model: PonderModel, batches: Passes) -> PonderModel:
    """A copy whose norms took their statistics from one pass over the scenes, in evaluation mode.

    Random weights that stay as they are need it: their norms never saw data otherwise.
    """
    model = copy.deepcopy(model)
    passed = len(batches.data) if len(batches.data) > 1 else batches.kept  # one scene: its augmentations
    count = math.ceil(passed / batches.count)
    settle_norms(model, (batches[step] for step in range(count)), model.encode)
    return model


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


class Contrast(NamedTuple):
    """First minus second, seed by seed.

    Attributes:
        name: of the row.
        first: a value a seed.
        second: those of the other arm, same seeds.
        higher: more is better.
        digits: behind the point.
    """

    name: str
    first: Sequence[float]
    second: Sequence[float]
    higher: bool = True
    digits: int = 1

    @property
    def apart(self) -> list[float]:
        """A difference a seed."""
        return [a - b for a, b in zip(self.first, self.second, strict=True)]


def contrast_rows(asked: Sequence[Contrast]) -> list[Row]:
    """A row a contrast. The first is primary, and its p-value as it is; those of the others are adjusted for
    their number (Holm), while their intervals are not. With one seed there are differences alone."""
    pvalues = [paired_p(each.apart) for each in asked]
    several = all(value is not None for value in pvalues)
    adjusted = [pvalues[0], *holm(pvalues[1:])] if several else pvalues
    rows: list[Row] = []
    for place, (each, p) in enumerate(zip(asked, adjusted, strict=True)):
        apart = each.apart
        row: Row = {"name": each.name, "kind": "secondary" if place else "primary"}
        row["difference"] = f"{np.mean(apart):+.{each.digits}f}"
        if p is not None:
            _, low, high = t_interval(apart)
            better = (np.mean(apart) > 0) == each.higher
            row["95 %"] = f"{low:+.{each.digits}f} to {high:+.{each.digits}f}"
            row["p"] = f"{p:.3f}"
            row["verdict"] = "no difference shown" if p >= LEVEL else "better" if better else "worse"
        rows.append(row | {"each seed": " ".join(f"{value:+.{each.digits}f}" for value in apart)})
    return rows


def paired_p(apart: Sequence[float]) -> float | None:
    """Of Student's test that differences have the mean 0, two-sided; None for one difference.

    Differences without any spread give 0, or 1 where they are all 0.
    """
    count = len(apart)
    if count < 2:
        return None
    mean, error = float(np.mean(apart)), float(np.std(apart, ddof=1)) / math.sqrt(count)
    theta = math.atan2(abs(mean), error * math.sqrt(count - 1))  # t = mean / error = sqrt(n - 1) tan(theta)
    return min(1.0, max(0.0, 1 - t_inside(theta, count - 1)))


def check_cost(found: Sequence[Mapping[str, Any]], longer: str, pretrained: str) -> None:
    """See that a control with the cost of pre-training added paid for it, by its mean CPU seconds.

    Raises:
        ValueError: it cost less.
    """
    paid, due = (float(np.mean(numbers(found, "seconds", name))) for name in (longer, pretrained))
    if paid < due:
        raise ValueError(
            f"{longer} took {paid:.0f} CPU s and {pretrained} {due:.0f}: raise Setting.dearer by a factor of "
            f"{due / paid:.2f}"
        )


def numbers(found: Sequence[Mapping[str, Any]], *keys: str) -> list[float]:
    """One number of each seed's result, by the keys that lead to it."""
    values = []
    for each in found:
        value: Any = each
        for key in keys:
            value = value[key]
        values.append(float(value))
    return values
