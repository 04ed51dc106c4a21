"""The parts of `timix demo`: the same small model trained on made-up scenes in several ways (ours).

Some of the captions are wrong. Each way sees the same scenes in the same order with the same first weights;
what differs is which images are mixed, and whether the patch predictor learns from the boxes of a few scenes.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from nonet.data.batching import generator
from nonet.metrics.stats import paired_bootstrap
from nonet.vision_language.drawn_shapes import SHAPES
from nonet.vision_language.pair_config import PairConfig
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.patch_alignment import patch_alignment_loss
from nonet.vision_language.patch_detector import PatchDetector
from nonet.vision_language.patch_raster import rasterise
from nonet.vision_language.vision import VisionTower
from timix import scenes as drawn
from timix.mixed_loss import mixed_itc
from timix.mixed_targets import Mode, mix_targets
from timix.mixgen import join_texts
from timix.scoring import Passed, Score, patch_scores
from timix.text_aware_mix import MixPlan, Region, TextAwareMix

if TYPE_CHECKING:
    from timix.scenes import Scenes

# Shapes: B pairs, N patches, n held-out scenes, e shared space.

HEADS = 2  # of width 32 each: with four the attention of so small a model takes twice the time


class Plan(NamedTuple):
    """How large and long everything is; by default for a minute of two cores."""

    train: int = 800
    """scenes to learn from"""
    test: int = 800
    """scenes to measure on"""
    boxed: int = 75
    """scenes whose boxes are known"""
    wrong: float = 0.3
    """share of wrong captions"""
    patch: int = 8
    """side of a patch, pixels: half that of a shape"""
    width: int = 64
    depth: int = 2
    block: int = 0
    """vision block behind which the patch predictor looks, from 0; not the last"""
    batch: int = 64
    steps: int = 160
    lr: float = 1e-3
    ramp: float = 0.3
    """share of the steps over which the weight of mixed images rises from 0"""
    r_min: float = 0.34
    r_max: float = 0.67
    """sides of windows as shares of the grid: 2 to 4 of 6 patches"""


class Arm(NamedTuple):
    """A way of training."""

    region: Region | None = None
    """how images are mixed; None: they are not"""
    score: Score = "tpp"
    """what says where, for regions that ask"""
    labels: Mode = "hard"
    predictor: bool = False
    """the patch predictor learns from boxes"""
    told: bool = False
    """in place of a score, the true boxes of all scenes say where: what no predictor could do better"""


PLAIN, RANDOM, GUIDED = "without mixed images", "windows at random", "windows where texts say"
"""names of the ways of training in the demo"""

ARMS = {PLAIN: Arm(), RANDOM: Arm("random"), GUIDED: Arm("maxmin", predictor=True)}


class Trained(NamedTuple):
    """What a way of training came to.

    Attributes:
        ranks: (n,) int64: of the right caption among the 220, 0 for the first, for each held-out scene.
        losses: of unmixed pairs, by step.
        seconds: of CPU time for the training.
        model, predictor: with their weights.
    """

    ranks: NDArray[np.int64]
    losses: list[float]
    seconds: float
    model: PairModel
    predictor: PatchDetector


def new_model(plan: Plan, seed: int) -> tuple[PairModel, PatchDetector]:
    """A model and a patch predictor with random weights, the same for a seed."""
    config = PairConfig(
        vit="", vit_width=plan.width, vit_depth=plan.depth, vit_heads=HEADS, quick_gelu=False,
        patch=plan.patch, image=drawn.SIDE, text="",
        vocabulary=drawn.FIRST_WORD + len(SHAPES), text_width=plan.width, text_heads=HEADS,
        text_hidden=4 * plan.width, positions=16, text_layers=2, fusion_layers=1, decoder_layers=0,
        embed=plan.width, max_length=8, dropout=0.0, vit_attention_dropout=0.0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, predictor = PairModel(config), PatchDetector(plan.width)
        # BERT's and timm's spread of .02 is meant for a width of 768. At 64 each layer would add next to
        # nothing for hundreds of steps, and mixing, which slows learning, would only seem to harm.
        for tower in (model.vision, model.text):
            for layer in tower.modules():
                if isinstance(layer, torch.nn.Linear):
                    torch.nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    return model, predictor


def train(
    arm: Arm,
    scenes: "Scenes",
    held_out: "Scenes",
    plan: Plan,
    *,
    seed: int,
    steps: int | None = None,
    done: Callable[[], Any] = lambda: None,
) -> Trained:
    """Train one way.

    Args:
        arm: the way.
        scenes: to learn from; the first `plan.boxed` may show their boxes.
        held_out: to measure on.
        plan: sizes and lengths.
        seed: of weights, order and windows.
        steps: None: those of the plan.
        done: called after each step.
    """
    steps = plan.steps if steps is None else steps
    model, predictor = new_model(plan, seed)
    weights = [*model.parameters(), *(predictor.parameters() if arm.predictor else ())]
    used = [each for each in weights if each.requires_grad]
    optimizer = torch.optim.AdamW(used, lr=plan.lr, weight_decay=0.02, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_rate, steps))
    images, ids = torch.from_numpy(scenes.images), torch.from_numpy(drawn.words(scenes.told))
    same = torch.from_numpy(drawn.numbers(scenes.told))
    mixer, truth = None, None
    if arm.region is not None:
        mixer = TextAwareMix(model.vision.grid, plan.r_min, plan.r_max, region=arm.region)
    if arm.told:
        masks = [rasterise(boxes, drawn.SIDE, plan.patch).any(0) for boxes in scenes.boxes]
        truth = torch.stack(masks).float().unflatten(1, model.vision.grid)
    order, losses, start = _order(len(images), plan.batch, steps, seed), list[float](), time.process_time()
    model.train()
    for step, rows in enumerate(order):
        batch = (images[rows], ids[rows], same[rows])
        weight = min(1.0, step / max(1.0, plan.ramp * steps))
        known = None if truth is None else truth[rows]
        random = generator(seed, "mix", step)
        plain, mixed = _losses(model, predictor, mixer, arm, batch, known, plan, random)
        loss = plain + weight * mixed
        if arm.predictor:
            loss = loss + _regions(model, predictor, scenes, plan, generator(seed, "boxes", step))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(used, 1.0)
        optimizer.step()
        schedule.step()
        model.clamp_tau()
        losses.append(plain.item())
        done()
    seconds = time.process_time() - start
    return Trained(ranks(model, held_out), losses, seconds, model, predictor)


def _losses(
    model: PairModel, predictor: PatchDetector, mixer: TextAwareMix | None, arm: Arm,
    batch: tuple[Tensor, Tensor, Tensor], known: Tensor | None, plan: Plan, random: np.random.Generator,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The losses of pairs and of mixed images; the latter is 0 without. `known` goes before scores."""
    images, ids, same = batch
    vision = model.vision
    patches = vision.patches(images)
    middle = vision.blocks(vision.from_patches(patches), 0, plan.block + 1)
    every = mixer is not None and arm.score == "itc"  # cosines look at all tokens behind the last block
    tokens = vision.finish(vision.blocks(middle, plan.block + 1)) if every else _whole(vision, middle, plan)
    text_tokens = model.encode_text(ids)
    seen, texts = model.image_features(tokens), model.text_features(text_tokens)
    equal = (same[:, None] == same).float()
    plain, _ = mixed_itc(seen, texts, equal / equal.sum(1, keepdim=True), model.tau)
    if mixer is None:
        return plain, plain.new_zeros(())
    scores = known
    if scores is None:
        passed = Passed(middle, middle, tokens)
        scores = patch_scores(
            arm.score, model, passed, text_tokens, block=plan.block, detector=predictor
        )  # fmt: skip
    mix = mixer.plan(scores, random)
    through = vision.blocks(vision.from_patches(mixer.tokens(patches, mix)), 0, plan.block + 1)
    mixed = model.image_features(_whole(vision, through, plan))
    if mix.kind == "joined":
        joined, mask = join_texts(ids, torch.ones_like(ids), mix, max_length=model.config.positions)
        texts = model.text_features(model.encode_text(joined, mask))
    probs = None if arm.labels == "hard" else (seen @ texts.mT / model.tau).detach().softmax(1)
    loss, _ = mixed_itc(mixed, texts, mix_targets(mix, arm.labels, probs, same), model.tau)
    return plain, loss


def _whole(vision: VisionTower, middle: Tensor, plan: Plan) -> Tensor:
    """The image's own token (B, 1, d) from those behind `plan.block`, as `finish(blocks(...))[:, :1]` has it.

    The last block is computed for that token alone: three blocks cost as much as two and a bit.
    """
    tokens = vision.blocks(middle, plan.block + 1, vision.depth - 1)
    last = vision.vit.blocks[-1]
    normed, inner, attention = last.norm1(tokens), tokens.shape[-1], last.attn
    weight, bias = attention.qkv.weight, attention.qkv.bias
    query = F.linear(normed[:, :1], weight[:inner], bias[:inner])
    key, value = F.linear(normed, weight[inner:], bias[inner:]).chunk(2, -1)
    heads = [each.unflatten(-1, (HEADS, -1)).transpose(1, 2) for each in (query, key, value)]
    own = tokens[:, :1] + attention.proj(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
    found: Tensor = vision.finish(own + last.mlp(last.norm2(own)))
    return found


def _regions(
    model: PairModel, predictor: PatchDetector, scenes: "Scenes", plan: Plan, random: np.random.Generator
) -> Tensor:
    """The predictor's loss on 16 boxes."""
    rows = random.integers(0, min(plan.boxed, len(scenes.images)), 16)
    which = random.integers(0, drawn.IN_SCENE, 16)
    kinds = scenes.kinds[rows]
    same = kinds == kinds[np.arange(16), which][:, None]  # a phrase has all boxes of its kind
    masks = torch.stack([
        rasterise(scenes.boxes[row][mine], drawn.SIDE, plan.patch).any(0)
        for row, mine in zip(rows, same, strict=True)
    ])  # fmt: skip
    vision = model.vision
    tokens = vision.blocks(vision.embed(torch.from_numpy(scenes.images[rows])), 0, plan.block + 1)
    text = model.encode_text(torch.from_numpy(drawn.words(kinds[np.arange(16), which][:, None])))[:, 0]
    return patch_alignment_loss(predictor(tokens[:, 1:], text), masks).loss


@torch.inference_mode()  # type: ignore[untyped-decorator]
def ranks(model: PairModel, held_out: "Scenes") -> NDArray[np.int64]:
    """The place (n,) of the right caption among all 220; equal similarities count as better ones."""
    model.eval()
    texts = model.text_features(model.encode_text(torch.from_numpy(drawn.words(np.array(drawn.ALL)))))
    images = torch.from_numpy(held_out.images)
    seen = torch.cat([model.image_features(model.encode_image(part)) for part in images.split(128)])
    similarity, right = seen @ texts.mT, torch.from_numpy(drawn.numbers(held_out.kinds))[:, None]
    found: NDArray[np.int64] = ((similarity >= similarity.gather(1, right)).sum(1) - 1).numpy()
    return found


def recall(found: NDArray[np.int64], at: int) -> float:
    """Percent of the ranks that are among the first `at`."""
    return float(100 * (found < at).mean())


def rows_of(found: dict[str, Trained], untrained: NDArray[np.int64]) -> list[dict[str, Any]]:
    """A row for each way of training, after one for the model before; recall in percent."""
    ways = [("not trained", untrained, 0.0)] + [
        (way, each.ranks, each.seconds) for way, each in found.items()
    ]
    return [
        {"way": way, "R@1": recall(places, 1), "R@5": recall(places, 5), "CPU seconds": round(seconds, 1)}
        for way, places, seconds in ways
    ]


def differences(found: dict[str, Trained]) -> list[dict[str, Any]]:
    """How far each way is ahead of each one before it: R@1 in percentage points, with its 95 % interval.

    The interval is over held-out scenes, which all ways are measured on. Another seed moves it, too.
    """
    rows: list[dict[str, Any]] = []
    for (second, before), (first, after) in combinations(found.items(), 2):
        apart = paired_bootstrap(100.0 * (after.ranks < 1), 100.0 * (before.ranks < 1), resamples=2000)
        rows.append(
            {"first": first, "second": second, "R@1": apart.difference, "low": apart.low, "high": apart.high}
        )
    return rows


def example_mix(
    trained: Trained, arm: Arm, scenes: "Scenes", plan: Plan, *, count: int, seed: int
) -> tuple[Tensor, Tensor, MixPlan, list[str], Tensor]:
    """Mixed images as the trained model mixes them.

    Returns:
        Images (count, 3, 48, 48) uint8, mixed images alike, the plan, captions, scores (count, Gh, Gw).
    """
    assert arm.region is not None
    model, images = trained.model.eval(), torch.from_numpy(scenes.images[:count])
    vision = model.vision
    with torch.inference_mode():
        middle = vision.blocks(vision.embed(images), 0, plan.block + 1)
        tokens = vision.finish(vision.blocks(middle, plan.block + 1))
        text = model.encode_text(torch.from_numpy(drawn.words(scenes.told[:count])))
        scores = patch_scores(
            arm.score, model, Passed(middle, middle, tokens), text, block=plan.block,
            detector=trained.predictor,
        )  # fmt: skip
        mixer = TextAwareMix(vision.grid, plan.r_min, plan.r_max, region=arm.region)
        mix = mixer.plan(scores, generator(seed, "picture"))
        mixed = mixer.pixels(images, mix)
    shown = [torch.from_numpy(drawn.as_pixels(each.numpy())) for each in (images, mixed)]
    captions = [
        drawn.caption(told) + (" (a wrong caption)" if wrong else "")
        for told, wrong in zip(scenes.told[:count], scenes.wrong[:count], strict=True)
    ]
    return shown[0], shown[1], mix, captions, scores


def _rate(steps: int, step: int) -> float:
    """Share of the learning rate: it rises over 15 % of the steps, and falls along a cosine."""
    return min((step + 1) / max(1.0, 0.15 * steps), 0.5 + 0.5 * math.cos(math.pi * step / steps))


def _order(count: int, batch: int, steps: int, seed: int) -> list[NDArray[np.int64]]:
    """Rows of each batch: passes in random order, what is left over at a pass's end is left out."""
    rows: list[NDArray[np.int64]] = []
    size = min(batch, count)
    epoch = 0
    while len(rows) < steps:
        mixed = generator(seed, "order", epoch).permutation(count)
        rows += [mixed[start : start + size] for start in range(0, count - size + 1, size)]
        epoch += 1
    return rows[:steps]
