"""Losses of mixed images and regions in training, in one step and in three."""

import dataclasses
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from nonet.data.batching import generator
from nonet.testing import normal, one_thread, plain_pages
from nonet.training.checkpoints import read_weights
from nonet.training.seeds import step_seed
from nonet.training.trainer import global_mean
from nonet.vision_language.momentum import Twin
from nonet.vision_language.pair_losses import PairLosses
from nonet.vision_language.pair_module import Moment
from nonet.vision_language.pair_optimizer import rate_at, rate_groups
from nonet.vision_language.pair_passes import look
from nonet.vision_language.patch_alignment import patch_alignment_loss, region_logits
from nonet.vision_language.patch_detector import PatchDetector
from nonet.vision_language.word_mask import WordMask
from timix.mix_training import pretrain
from timix.mixed_loss import mixed_itc
from timix.mixed_targets import mix_targets
from timix.text_aware_mix import TextAwareMix

sys.path.insert(0, str(Path(__file__).parent / "support_timix"))
from square_pairs import MODEL
from tiny_training import BARE, ITC_ALONE, built, options


@pytest.mark.parametrize(
    ("space", "fraction", "width"),
    [("tokens", 1.0, 48), ("tokens", 0.5, 48), ("pixels", 1.0, 48), ("pixels", 0.5, 48), ("tokens", 1.0, 64)],
)
def test_mixed_loss_is_that_of_mixed_pixels_by_hand(tmp_path, space, fraction, width):
    mix = {"space": space, "fraction": fraction, "ramp": 0}
    given = options(tmp_path, itc=BARE, losses=ITC_ALONE, mix=mix, model=MODEL | {"image_width": width})
    begin, module, batch = built(given, wide=True)
    data, moment = batch(0), Moment(3, 0, 0.75)
    assert data["images"].shape == (6, 3, 48, width)
    found = module.main_terms(data, moment)
    total, count = module.extra_terms(data, found, moment)["mix"]

    model, grid = begin.model, (6, width // 8)
    mixer = TextAwareMix(grid)
    tokens = model.vision.blocks(model.vision.embed(data["images"]), 0, 1)
    text = model.encode_text(data["input_ids"], data["attention_mask"])
    scores = PatchDetector.log_score(begin.detector(tokens[:, 1:], text[:, 0])).unflatten(1, grid)
    random = generator(0, "mix", 3, 0)
    plan = mixer.plan(scores, random)
    images, labels = mixer.pixels(data["images"], plan), mix_targets(plan)
    if fraction < 1:
        kept = torch.ones(6, dtype=torch.bool)
        kept[torch.from_numpy(random.permutation(6)[:3])] = False
        images, labels = images.clone(), labels.clone()
        images[kept], labels[kept] = data["images"][kept], torch.eye(6)[kept]
    loss, _ = mixed_itc(
        model.image_features(model.encode_image(images)), model.text_features(text), labels, model.tau
    )
    assert int(count) == 6
    torch.testing.assert_close(total / count, loss, rtol=1e-5, atol=1e-6)


def test_doubles_in_a_batch_share_what_is_right(tmp_path):
    given = options(tmp_path, itc=BARE, losses=ITC_ALONE, mix={"ramp": 0, "score": "random"}, regions=[])
    begin, module, batch = built(given, wide=True)
    model, data, moment = begin.model, batch(0), Moment(0, 0, 1.0)
    data["caption_ids"][1], data["image_ids"][3] = data["caption_ids"][0], data["image_ids"][2]
    found = module.main_terms(data, moment)
    total, count = module.extra_terms(data, found, moment)["mix"]
    mixer = TextAwareMix(6, region="random")
    plan = mixer.plan(torch.zeros(6, 6, 6), generator(0, "mix", 0, 0))
    features = model.image_features(model.encode_image(mixer.pixels(data["images"], plan)))
    losses = []
    for groups in (torch.tensor([0, 0, 2, 2, 4, 5]), torch.arange(6)):
        labels = mix_targets(plan, same=groups)
        losses.append(float(mixed_itc(features, found.text_features, labels, model.tau)[0].detach()))
    assert float((total / count).detach()) == pytest.approx(losses[0], rel=1e-5)
    assert abs(losses[0] - losses[1]) > 1e-2


@pytest.mark.parametrize("labels", ["soft", "blend"])
def test_probabilities_as_labels_and_earlier_pairs_in_the_way_by_hand(tmp_path, labels):
    mix = {"labels": labels, "region": "cutmix", "ramp": 0, "queue": True}
    itc = {"queue": 16, "momentum": 0.5, "alpha": 0.4}
    begin, module, batch = built(options(tmp_path, losses=ITC_ALONE, mix=mix, regions=[], itc=itc), wide=True)
    model, twin = begin.model, module.twin.model
    with torch.no_grad():
        for number, weight in enumerate(each for each in twin.parameters() if each.ndim):
            weight.add_(normal(*weight.shape, seed=number), alpha=0.1)
    module.remember(module.main_terms(batch(1), Moment(0, 0, 0.0)))
    data, moment = batch(0), Moment(3, 0, 0.75)
    found = module.main_terms(data, moment)
    total, count = module.extra_terms(data, found, moment)["mix"]

    plan = TextAwareMix(6, region="cutmix").plan(torch.zeros(6, 6, 6), generator(0, "mix", 3, 0))
    mixed = model.image_features(model.encode_image(TextAwareMix(6).pixels(data["images"], plan)))
    text = model.text_features(model.encode_text(data["input_ids"], data["attention_mask"]))
    judge, share = (model, 1.0) if labels == "soft" else (twin, 0.4 * 0.75)
    images = judge.image_features(judge.encode_image(data["images"]))
    texts = judge.text_features(judge.encode_text(data["input_ids"], data["attention_mask"]))
    right = share * (images @ texts.T / model.tau).softmax(1).detach() + (1 - share) * torch.eye(6)
    right = plan.lam[:, None] * right + (1 - plan.lam)[:, None] * right.flip(0)
    halves = []
    earlier_images, earlier_texts, _ = module.queue.earlier()
    assert len(earlier_texts) == 6
    for rows, keys, goal in (
        (mixed, torch.cat([text, earlier_texts]), right),
        (text, torch.cat([mixed, earlier_images]), (right / right.sum(0)).T),
    ):
        logs = (rows @ keys.T / model.tau).log_softmax(1)[:, :6]
        halves.append(-(goal * logs).sum(1).mean())
    torch.testing.assert_close(total / count, sum(halves) / 2, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("region", "labels"),
    [("aligned", "blend"), ("cutmix", "hard"), ("mixup", "hard"), ("mixup", "blend"), ("mixgen", "hard")],
)
def test_every_baseline_gives_a_finite_loss_with_a_gradient(tmp_path, region, labels):
    mix = {"region": region, "labels": labels, "ramp": 0, "score": "attn", "queue": True}
    begin, module, batch = built(options(tmp_path, losses=ITC_ALONE, mix=mix), wide=True)
    for number in (0, 1):
        data, moment = batch(number), Moment(number, 0, 0.5)
        found = module.main_terms(data, moment)
        terms = module.extra_terms(data, found, moment)
        module.remember(found)
    total, count = terms["mix"]
    assert torch.isfinite(total)
    assert total > 0
    (gradient,) = torch.autograd.grad(total / count, begin.model.vision_proj.weight, retain_graph=True)
    assert gradient.abs().max() > 0
    assert "pta" in terms


def test_steps_without_regions_give_the_predictor_a_gradient_of_zero(tmp_path):
    begin, module, batch = built(options(tmp_path, itc=BARE, losses=ITC_ALONE, tpp={"regions_prob": 0.0}))
    data, moment = batch(0), Moment(0, 0, 0.0)
    assert "regions" not in data
    found = module.main_terms(data, moment)
    terms = module.extra_terms(data, found, moment)
    assert set(terms) == {"pta"}
    assert float(global_mean(*terms["pta"]).detach()) == 0
    torch.stack([global_mean(*term) for term in (terms | found.terms).values()]).sum().backward()
    assert all(weight.grad is not None and not weight.grad.any() for weight in begin.detector.parameters())


def three_steps(given, steps):
    """The released order told again: regions, pairs, mixed pixels with texts encoded anew; one AdamW."""
    seed, mix = given.trainer.seed, given.mix
    begin, _, batch = built(given)
    model, detector, texts = begin.model, begin.detector, begin.tokenizer
    mask = WordMask(
        model.config.vocabulary, mask_id=texts.mask_token_id, begin_id=texts.cls_token_id, share=0.15
    )
    losses = PairLosses(mask, see=partial(look, middle=0))
    twin = Twin(model, given.itc.momentum, skip=losses.skipped_by_twin(model))
    module = nn.ModuleDict({"model": model, "detector": detector})
    groups = rate_groups(module, given.rates)
    optimizer = torch.optim.AdamW(groups, lr=given.rates.lr)
    peaks = [group["lr"] for group in optimizer.param_groups]
    every = [weight for group in optimizer.param_groups for weight in group["params"]]

    def take(loss):
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(every, given.trainer.clip)
        optimizer.step()

    for step in range(steps):
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            rate = rate_at(step, peak, given.rates, steps=steps, steps_per_epoch=4)
            group["lr"] = peak * (rate / peak)
        data = batch(step)
        regions = data["regions"]
        aligned = patch_alignment_loss(region_logits(model, detector, regions, 0), regions["masks"]).loss
        take(global_mean(aligned * 6, 6))
        model.clamp_tau()
        if step:
            twin.update(model)
        draws = torch.Generator().manual_seed(step_seed(seed, step, 0, 0))
        found = losses(model, data, generator=draws, twin=twin, alpha=given.itc.alpha * min(step / 4, 1))
        with torch.no_grad():
            scores = detector(found.seen.middle[:, 1:], found.text_tokens[:, 0]).log_softmax(-1)[..., 1]
            probs = found.similarity.softmax(1)
        take(torch.stack([global_mean(*term) for term in found.terms.values()]).sum())
        gamma = min(step / 4, 1)
        if not gamma:
            continue
        model.clamp_tau()
        mixer = TextAwareMix(6, mix.r_min, mix.r_max)
        plan = mixer.plan(scores.unflatten(1, (6, 6)), generator(seed, "mix", step, 0))
        image = model.image_features(model.encode_image(mixer.pixels(data["images"], plan)))
        text = model.text_features(model.encode_text(data["input_ids"], data["attention_mask"]))
        same = (data["caption_ids"][:, None] == data["caption_ids"]) | (
            data["image_ids"][:, None] == data["image_ids"]
        )
        labels = mix_targets(plan, "soft", probs, same)
        take(global_mean(gamma * mixed_itc(image, text, labels, model.tau)[0] * 6, 6))
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_separate_steps_are_those_of_a_plain_loop_to_the_bit(tmp_path):
    mix = {"optim_steps": "separate", "labels": "soft", "space": "pixels"}
    given = options(tmp_path, itc={"queue": 0}, mix=mix, trainer={"seed": 3})
    given = dataclasses.replace(given, out=tmp_path / "run", epochs=0.0)
    given = dataclasses.replace(given, trainer=dataclasses.replace(given.trainer, steps=4))
    with one_thread(), plain_pages():
        expected = three_steps(given, 4)
        folder = pretrain(given)
    found = read_weights(folder / "checkpoints" / "last.ckpt")
    off = [name for name, value in expected.items() if not torch.equal(found[name], value)]
    assert off == []
