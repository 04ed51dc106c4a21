"""An iteration of pre-training as released, told again in our words: three backward passes, three steps.

Source: the paper's repository (`pretrain_mplug.py`, `model_pretrain_mplug.py`, `clip/model.py`) as to what is
computed and in which order; no line is copied. Region step: each element, not each image, goes through all
blocks of the vision tower, though the loss is taken behind one of them. Main step: negatives are fetched one
by one, and the average of the weights is taken tensor by tensor; the teacher's logits for PrefixLM are
computed and have no weight. Mix step: pixels are unfolded and folded, and texts are encoded a second time.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from benchmarks.timix.plain_mixing import plain_mix
from torch import Tensor, nn
from torch.nn import functional as F

from nonet.vision_language.pair_model import PairModel
from timix.mixed_loss import mixed_itc

# Shapes: B pairs, L tokens of a text, V words, R images with regions, E regions, N patches.

MOMENTUM = 0.995
ALPHA = 0.4  # share of the teacher in targets
CLIP = 1.0  # greatest norm of the gradient


@dataclass
class Iteration:
    """What both contenders start from; they have copies of their own."""

    model: PairModel
    twin: PairModel
    detector: nn.Module
    """(E, N, d) patches and (E, d) texts to (E, N, 2) logits"""
    optimizer: torch.optim.Optimizer
    batch: dict[str, Tensor]
    """images, ids, mask, masked_ids, labels of masked words, prefix_ids, target_ids; no padding; images,
    ids, masks (E, N) and of_image of regions"""
    block: int
    """behind which the detector looks, from 0"""
    side: int
    """of the pasted window, in patches"""


def iteration(make: Any) -> Iteration:
    """A start of one's own: `make()` gives model, detector, batch, block and side."""
    model, detector, batch, block, side = make()
    twin = copy.deepcopy(model).requires_grad_(False)
    weights = [*model.parameters(), *detector.parameters()]
    # Both do all the optimiser's work, and the rate of 0 keeps their weights equal from step to step.
    optimizer = torch.optim.AdamW(weights, lr=0.0, weight_decay=0.02)
    return Iteration(model, twin, detector, optimizer, batch, block, side)


def plain_iteration(it: Iteration, *, regions: bool = True, mixing: bool = True) -> dict[str, Tensor]:
    """The three steps, or some of them; the losses by name."""
    losses: dict[str, Tensor] = {}
    if regions:
        losses["regions"] = _regions(it)
        _step(it, losses["regions"])
    main, scores, probs = _main(it)
    _step(it, torch.stack(list(main.values())).sum())
    losses |= main
    if mixing:
        losses["mixed"] = _mix(it, scores, probs)
        _step(it, losses["mixed"])
    return {name: loss.detach() for name, loss in losses.items()}


def _step(it: Iteration, loss: Tensor) -> None:
    it.optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_([p for group in it.optimizer.param_groups for p in group["params"]], CLIP)
    it.optimizer.step()


def _regions(it: Iteration) -> Tensor:
    model, batch = it.model, it.batch
    text = model.encode_text(batch["region_ids"])[:, 0]
    tokens = model.vision.embed(batch["region_images"])[batch["of_image"]]
    tokens = model.vision.blocks(tokens, 0, it.block + 1)
    logits = it.detector(tokens[:, 1:], text)
    model.vision.blocks(tokens, it.block + 1)
    return F.cross_entropy(logits.flatten(0, 1), batch["masks"].flatten().long())


def _main(it: Iteration) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    model, twin, batch = it.model, it.twin, it.batch
    count = len(batch["images"])
    text = model.encode_text(batch["ids"])
    tokens = model.vision.blocks(model.vision.embed(batch["images"]), 0, it.block + 1)
    scores = it.detector(tokens[:, 1:], text[:, 0]).log_softmax(-1)[..., 1]
    image = model.vision.finish(model.vision.blocks(tokens, it.block + 1))
    v, t = model.image_features(image), model.text_features(text)
    with torch.no_grad():
        for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
            theirs.data = theirs.data * MOMENTUM + ours.data * (1 - MOMENTUM)
        image_m, text_m = twin.encode_image(batch["images"]), twin.encode_text(batch["ids"])
        v_m, t_m = twin.image_features(image_m), twin.text_features(text_m)
        right = torch.eye(count)
        of_images = ALPHA * (v_m @ t_m.T / model.tau).softmax(1) + (1 - ALPHA) * right
        of_texts = ALPHA * (t_m @ v_m.T / model.tau).softmax(1) + (1 - ALPHA) * right
    similar = v @ t.T / model.tau
    itc = (F.cross_entropy(similar, of_images) + F.cross_entropy(similar.T, of_texts)) / 2
    _, fused = model.fusion(image, None, text, None)
    with torch.no_grad():
        others = similar.masked_fill(torch.eye(count, dtype=torch.bool), -torch.inf)
    images_no, texts_no = [], []
    for b in range(count):
        images_no.append(image[others[:, b].argmax().item()])
        texts_no.append(text[others[b].argmax().item()])
    both_images = torch.cat([torch.stack(images_no), image])
    both_texts = torch.cat([text, torch.stack(texts_no)])
    _, wrong = model.fusion(both_images, None, both_texts, None)
    pairs = model.itm_head(torch.cat([fused[:, 0], wrong[:, 0]]))
    itm = F.cross_entropy(pairs, torch.cat([torch.ones(count), torch.zeros(2 * count)]).long())

    with torch.no_grad():
        _, guess = twin.fusion(image_m, None, twin.encode_text(batch["masked_ids"]), None)
        teacher = twin.mlm_logits(guess).softmax(-1)
    _, guess = model.fusion(image, None, model.encode_text(batch["masked_ids"]), None)
    logits = model.mlm_logits(guess)
    masked = batch["labels"].flatten() != -100
    words = F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())
    distilled = -(logits.log_softmax(-1) * teacher).sum(-1).flatten()[masked].mean()
    losses = {"itc": itc, "itm": itm, "mlm": (1 - ALPHA) * words + ALPHA * distilled}
    if model.decoder is not None and twin.decoder is not None:
        with torch.no_grad():
            parts = twin.fusion(image_m, None, twin.encode_text(batch["prefix_ids"]), None)
            twin.decoder(batch["target_ids"], None, torch.cat(parts, 1)).softmax(-1)
        parts = model.fusion(image, None, model.encode_text(batch["prefix_ids"]), None)
        logits = model.decoder(batch["target_ids"], None, torch.cat(parts, 1))
        losses["prefix"] = F.cross_entropy(logits[:, :-1].flatten(0, 1), batch["target_ids"][:, 1:].flatten())
    return losses, scores.detach(), similar.detach().softmax(1)


def _mix(it: Iteration, scores: Tensor, probs: Tensor) -> Tensor:
    model, batch = it.model, it.batch
    grid = model.vision.grid
    with torch.no_grad():
        spread = (scores - scores.mean(1, keepdim=True)) / scores.std(1, keepdim=True)
        mixed = plain_mix(batch["images"], spread.unflatten(1, grid), it.side)
        lam = 1 - it.side**2 / (grid[0] * grid[1])
        labels = lam * probs + (1 - lam) * probs.flip(0)
    text = model.text_features(model.encode_text(batch["ids"]))
    image = model.image_features(model.encode_image(mixed))
    return mixed_itc(image, text, labels, model.tau)[0]
