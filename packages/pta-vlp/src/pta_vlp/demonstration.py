"""Parts of `pta-vlp demo` and of the experiment on digits: one small model, trained in several ways (ours).

A scene shows three things, and a question names one of them; its answer is a quality of that thing alone.
Each way of training sees the same scenes and questions in the same order with the same first weights. What
differs is which patches are kept behind the first blocks, and whether the patch detector learns from the
boxes of a few scenes.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from nonet.data.batching import generator
from nonet.training.schedules import scheduler
from nonet.vision_language.pair_config import PairConfig
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.patch_alignment import patch_alignment_loss
from nonet.vision_language.patch_detector import PatchDetector
from nonet.vision_language.patch_raster import rasterise
from pta_vlp.cost import kept_tokens, pruned_macs, tower_of
from pta_vlp.pruned_vision import PrunedVision
from pta_vlp.scenes import Scenes
from pta_vlp.select_options import Selection, SelectOptions

# Shapes: n scenes of M things, B questions in a batch, E all questions, N patches, k kept, d width.

WARMUP = 0.15
"""share of the steps over which the learning rate rises; it falls along a cosine then"""
FIRST_WORD = 3
"""number of the first name's word; before it are padding, [CLS] and [SEP]"""


class Plan(NamedTuple):
    """How large and long everything is."""

    kinds: int = 10
    """different things, each with a word"""
    answers: int = 3
    """different answers"""
    boxed: int = 150
    """scenes whose boxes are known"""
    patch: int = 8
    """side of a patch, pixels"""
    width: int = 64
    depth: int = 4
    heads: int = 2
    block: int = 1
    """vision block behind which patches are selected, from 0"""
    keep: float = 0.25
    """share of the patches that is kept"""
    batch: int = 48
    """questions of a step, each to another scene"""
    regions: int = 12
    """scenes of a step whose boxes are learned from"""
    steps: int = 1500
    lr: float = 1.5e-3


DEMO = Plan(boxed=100, patch=16, batch=64, regions=24, steps=300)
"""of the demo: a shape is one patch of 16"""


class Arm(NamedTuple):
    """A way of training."""

    selection: Selection = "off"
    """what says which patches are kept; off: all are"""
    alignment: bool = False
    """the patch detector learns from boxes (PTA)"""
    longer: int = 1
    """times as many steps"""


BLIND, GUIDED = "where CLS looks", "where the question points"
"""names of the ways of keeping patches in the demo"""

ARMS = {BLIND: Arm("attention"), GUIDED: Arm("text", alignment=True)}


class Answerer(nn.Module):
    """An image-text model that sees a part of the patches, with a head for answers.

    Args:
        plan: its sizes.
        side: of the images, pixels.
        selection: what says which patches are kept.

    Attributes:
        pair: text tower, fusion and the weights of the vision tower.
        detector: says which patches a text is about.
        pruned: the vision tower with the selection; its `options` may be replaced.
        head: fused text CLS to logits of answers.
    """

    def __init__(self, plan: Plan, side: int, selection: Selection) -> None:
        super().__init__()
        width = plan.width
        self.pair = PairModel(
            PairConfig(
                vit="", vit_width=width, vit_depth=plan.depth, vit_heads=plan.heads, patch=plan.patch,
                quick_gelu=False, image=side, text="", vocabulary=FIRST_WORD + plan.kinds, text_width=width,
                text_heads=plan.heads, text_hidden=4 * width, positions=16, text_layers=2, fusion_layers=1,
                decoder_layers=0, embed=width, max_length=8, dropout=0.0, vit_attention_dropout=0.0,
            )
        )  # fmt: skip
        self.detector = PatchDetector(width)
        self.head = nn.Linear(width, plan.answers)
        for module in self.modules():
            if isinstance(module, nn.Linear):  # BERT's deviation of 0.02 is for wider layers
                nn.init.xavier_uniform_(module.weight)
        options = SelectOptions(selection=selection, block=plan.block, keep=plan.keep)
        self.pruned = PrunedVision(self.pair.vision, self.detector, options)

    def forward(
        self, images: Tensor, ids: Tensor, of_image: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Answer questions; an image goes through the first blocks once, for all of its questions.

        Args:
            images: (n, 3, S, S).
            ids: (E, L) int64 words of the questions.
            of_image: (E,) int64, the image of each; None: question i is on image i.

        Returns:
            Logits (E, answers); numbers of the kept patches (E, k), None where all are.
        """
        text = self.pair.encode_text(ids)
        seen = self.pruned(images, text[:, 0], of_image)
        fused = self.pair.fusion(seen.tokens, None, text, None)[1]
        return self.head(fused[:, 0]), seen.kept

    def alignment(self, images: Tensor, ids: Tensor, of_image: Tensor, masks: Tensor) -> Tensor:
        """The detector's loss on boxes: images (n, 3, S, S), words (E, L), image of each, patches (E, N)."""
        vision = self.pair.vision
        tokens = vision.blocks(vision.embed(images), 0, self.pruned.options.block + 1)
        text = self.pair.encode_text(ids)[:, 0]
        loss: Tensor = patch_alignment_loss(self.detector(tokens[:, 1:], text, of_image), masks).loss
        return loss


class Trained(NamedTuple):
    """What a way of training came to.

    Attributes:
        right: (n, M) bool, whether each question to each held-out scene was answered rightly.
        recall: share of the named things' patches that were kept, 0..1; None where all are.
        losses: of the answers, by step.
        seconds: of CPU time for the training.
        model: with its weights, for evaluation.
    """

    right: NDArray[np.bool_]
    recall: float | None
    losses: list[float]
    seconds: float
    model: Answerer


def new_model(arm: Arm, plan: Plan, side: int, seed: int) -> Answerer:
    """A model with random weights, which are the same for a seed, whatever the arm."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Answerer(plan, side, arm.selection)


def train(
    arm: Arm, scenes: Scenes, held_out: Scenes, plan: Plan, *, seed: int,
    done: Callable[[], Any] = lambda: None,
) -> Trained:  # fmt: skip
    """Train one way.

    Args:
        arm: the way.
        scenes: to learn from; the first `plan.boxed` may show their boxes.
        held_out: to measure on.
        plan: sizes and lengths.
        seed: of weights, order and random patches.
        done: called after each step.
    """
    steps = plan.steps * arm.longer
    model = new_model(arm, plan, scenes.images.shape[-1], seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.lr, weight_decay=0.02, fused=True)
    schedule = scheduler(optimizer, "cosine", warmup=round(WARMUP * steps), steps=steps)
    images, ids = torch.from_numpy(scenes.images), torch.from_numpy(words(scenes.kinds))
    answers = torch.from_numpy(scenes.answers)
    masks = patches_of(scenes, plan)[: plan.boxed]
    losses, start = list[float](), time.process_time()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.train()
        for step, (rows, asked) in enumerate(_questions(scenes.kinds.shape, plan.batch, steps, seed)):
            logits, _ = model(images[rows], ids[rows, asked])
            answer = F.cross_entropy(logits, answers[rows, asked])
            loss = answer
            if arm.alignment:
                some = generator(seed, "boxes", step).integers(0, len(masks), plan.regions)
                each = torch.arange(plan.regions).repeat_interleave(masks.shape[1])
                region = model.alignment(
                    images[some], ids[some].flatten(0, 1), each, masks[some].flatten(0, 1)
                )
                loss = loss + region
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(answer.item())
            done()
        seconds = time.process_time() - start
        right, recall = measure(model, held_out, plan)
    return Trained(right, recall, losses, seconds, model)


@torch.inference_mode()  # type: ignore[untyped-decorator]
def measure(model: Answerer, scenes: Scenes, plan: Plan) -> tuple[NDArray[np.bool_], float | None]:
    """Ask for every thing of every scene.

    Returns:
        Whether each answer is right (n, M); share of the named things' patches that were kept, or None.
    """
    model.eval()
    things = scenes.kinds.shape[1]
    images, ids = torch.from_numpy(scenes.images), torch.from_numpy(words(scenes.kinds))
    said, hits, masks = [], 0, patches_of(scenes, plan)
    kept_any = False
    for rows in torch.arange(len(images)).split(128):
        of_image = torch.arange(len(rows)).repeat_interleave(things)
        logits, kept = model(images[rows], ids[rows].flatten(0, 1), of_image)
        said.append(logits.argmax(-1).view(len(rows), things))
        if kept is not None:
            kept_any = True
            hits += int(masks[rows].flatten(0, 1).gather(1, kept).sum())
    right = (torch.cat(said) == torch.from_numpy(scenes.answers)).numpy()
    return right, hits / int(masks.sum()) if kept_any else None


def at_shares(model: Answerer, scenes: Scenes, plan: Plan, keeps: Sequence[float]) -> list[dict[str, Any]]:
    """The same model with other shares of the patches: a row for each.

    Its keys: keep; tokens of an image behind the selection; right, percent of the answers; recall, percent of
    the named things' patches, None where all are kept; MMAC, 1e6 multiply-accumulates of the tower for each.
    """
    usual, sizes = model.pruned.options, tower_of(model.pair.vision)
    rows: list[dict[str, Any]] = []
    for keep in keeps:
        model.pruned.options = options = replace(usual, keep=keep)
        right, recall = measure(model, scenes, plan)
        rows.append(
            {
                "keep": keep,
                "tokens": kept_tokens(sizes, options),
                "right": percent(right),
                "recall": None if recall is None else 100 * recall,
                "MMAC": pruned_macs(sizes, options) / 1e6,
            }
        )
    model.pruned.options = usual
    return rows


def percent(right: NDArray[np.bool_]) -> float:
    """Percent of the answers that are right."""
    return 100 * float(right.mean())


def words(kinds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Kinds (...) to the words of a question (..., 2), [CLS] in front."""
    return np.stack([np.ones_like(kinds), kinds + FIRST_WORD], -1)


def patches_of(scenes: Scenes, plan: Plan) -> Tensor:
    """The patches of each thing's box, (n, M, N) bool."""
    side = scenes.images.shape[-1]
    return rasterise(scenes.boxes, side, plan.patch).unflatten(0, scenes.kinds.shape)


def _questions(
    shape: tuple[int, ...], batch: int, steps: int, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Scenes of each batch, in passes of random order, and which of its things is asked for."""
    count, things = shape
    size = min(batch, count)
    found: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    epoch = 0
    while len(found) < steps:
        random = generator(seed, "order", epoch)
        order, asked = random.permutation(count), random.integers(0, things, count)
        found += [
            (order[start : start + size], asked[start : start + size])
            for start in range(0, count - size + 1, size)
        ]
        epoch += 1
    return found[:steps]
