"""Mixing in open_clip's own training loop, and in a loop by hand."""

import dataclasses
import math
from types import SimpleNamespace

import open_clip
import pytest
import torch
from open_clip.loss import ClipLoss, SigLipLoss
from open_clip_train.train import train_one_epoch
from torch.nn.functional import normalize

from nonet.data.batching import generator
from nonet.errors import UserError
from nonet.testing import normal, seeded, whole
from timix import TextAwareMix, mix_targets, mixed_itc
from timix.hosts import MixedClipLoss, mixed_term, same_texts


def clip(bias=None):
    torch.manual_seed(0)
    vision = open_clip.CLIPVisionCfg(layers=2, width=32, head_width=16, patch_size=8, image_size=48)
    text = open_clip.CLIPTextCfg(context_length=8, vocab_size=50, width=32, heads=2, layers=1)
    return open_clip.CLIP(16, vision, text, output_dict=True, init_logit_bias=bias)


def batches(count=3, size=4):
    return [(normal(size, 3, 48, 48, seed=i), 1 + whole(49, size, 8, seed=i)) for i in range(count)]


def train(model, loss, given, accum_freq=1):
    """open_clip's epoch, as its command calls it."""
    given_again = type("Loader", (list,), {"num_batches": len(given), "num_samples": 4 * len(given)})(given)
    data = {"train": SimpleNamespace(dataloader=given_again, set_epoch=lambda epoch: None)}
    args = SimpleNamespace(
        device="cpu", precision="fp32", accum_freq=accum_freq, skip_scheduler=True, distill=False,
        grad_clip_norm=None, horovod=False, rank=0, local_rank=0, log_local=False, log_every_n_steps=1,
        batch_size=4, world_size=1, wandb=False, distributed=False, save_logs=False,
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    train_one_epoch(model, data, loss, 0, optimizer, None, None, None, args)


def test_the_loop_of_open_clip_trains_as_a_loop_by_hand_does():
    mix = TextAwareMix(6, partner="roll")
    theirs, ours, given = clip(), clip(), batches()
    loss = MixedClipLoss(ClipLoss(), theirs, mix, weight=0.5, seed=3)
    assert not list(loss.parameters())
    train(theirs, loss, given)
    assert loss.step == 3

    optimizer = torch.optim.SGD(ours.parameters(), lr=0.1)
    for step, (images, texts) in enumerate(given):
        out = ours(images, texts)
        v, t, scale = out["image_features"], out["text_features"], out["logit_scale"]
        with torch.no_grad():
            tokens = ours.visual.transformer(ours.visual._embeds(images))[:, 1:]
            tokens = normalize(ours.visual.ln_post(tokens) @ ours.visual.proj, dim=-1)
            scores = (tokens @ t.detach()[:, :, None])[..., 0].view(-1, 6, 6)
        plan = mix.plan(scores, generator(3, "mix", step))
        mixed = ours.encode_image(mix.pixels(images, plan), normalize=True)
        term, _ = mixed_itc(mixed, t, mix_targets(plan), 1 / scale)
        optimizer.zero_grad()
        (ClipLoss()(v, t, scale) + 0.5 * term).backward()
        optimizer.step()
        with torch.no_grad():
            ours.logit_scale.clamp_(0, math.log(100))
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_siglip_of_open_clip_is_mixed_pair_by_pair():
    model = clip(bias=-10.0)
    loss = MixedClipLoss(SigLipLoss(), model, TextAwareMix(6, region="random"))
    (images, texts), before = batches()[0], [p.detach().clone() for p in model.parameters()]
    losses = loss(**model(images, texts), output_dict=True)
    wanted = SigLipLoss()(**model(images, texts))
    torch.testing.assert_close(losses["contrastive_loss"], wanted)
    assert losses["mixed_loss"].isfinite()
    train(model, loss, batches())
    assert all((a != b).any() for a, b in zip(before, model.parameters(), strict=True))


def test_without_gradient_the_loss_is_the_hosts_own():
    model = clip()
    loss, (images, texts) = MixedClipLoss(ClipLoss(), model, TextAwareMix(6)), batches()[0]
    with torch.no_grad():
        out = model(images, texts)
        assert loss(**out, output_dict=True).keys() == {"contrastive_loss"}
        assert loss(**out) == ClipLoss()(**out)


def test_soft_labels_in_the_loop_are_the_models_probabilities():
    model, given = clip(), batches(1)[0]
    mix = TextAwareMix(6, region="cutmix")
    loss = MixedClipLoss(ClipLoss(), model, mix, labels="soft")
    out = model(*given)
    found = loss(**out, output_dict=True)["mixed_loss"]
    plan = mix.plan(torch.zeros(4, 6, 6), generator(0, "mix", 0))
    v, t, scale = out["image_features"], out["text_features"], out["logit_scale"]
    mixed = normalize(model.visual(mix.pixels(given[0], plan)), dim=-1)
    wanted, _ = mixed_itc(mixed, t, mix_targets(plan, "soft", (scale * v @ t.T).softmax(1)), 1 / scale)
    torch.testing.assert_close(found, wanted)
    hard, _ = mixed_itc(mixed, t, mix_targets(plan), 1 / scale)
    assert abs(hard - wanted) > 1e-3


def test_equal_texts_have_equal_numbers():
    texts = whole(1000, 50, 8)
    texts[7], texts[30] = texts[3], texts[3].flip(0)
    numbers = same_texts(texts).tolist()
    assert numbers[7] == numbers[3]
    assert len(set(numbers)) == 49


def test_what_cannot_be_mixed_is_refused():
    with pytest.raises(UserError, match=r"the model has \(6, 6\) patches, and the mixing \(7, 7\)"):
        MixedClipLoss(ClipLoss(), clip(), TextAwareMix(7))
    other = SimpleNamespace(visual=torch.nn.Identity())
    with pytest.raises(UserError, match="Identity gives no patch tokens of the shared space"):
        MixedClipLoss(ClipLoss(), other, TextAwareMix(7))
    model = clip()
    loss = MixedClipLoss(ClipLoss(), model, TextAwareMix(6))
    with pytest.raises(UserError, match="mixing takes a whole batch at once, so set accum_freq to 1"):
        train(model, loss, batches(2), accum_freq=2)
    with pytest.raises(UserError, match="mixing twice is not supported"):
        model(batches()[0][0], torch.rand(4, 8))
    mixgen = TextAwareMix(6, region="mixgen")
    plan = mixgen.plan(torch.zeros(4, 6, 6), seeded())
    with pytest.raises(UserError, match="joined texts need features of their own"):
        mixed_term(model.visual, batches()[0][0], torch.rand(4, 16), plan, mixgen, scale=1.0)


def of_transformers(name):
    """A tiny model of transformers: its inputs, its loss of them, features of images, and scale and bias."""
    import transformers

    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 48, "patch_size": 8}
    text = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"vocab_size": 50, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 49}
    size = {"projection_dim": 16} if name == "CLIP" else {}
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(vision_config=vision, text_config=text, **size)
    model = getattr(transformers, f"{name}Model")(config).eval()
    images, texts = batches(1)[0]
    return model, model(pixel_values=images, input_ids=texts, return_loss=True), images


@pytest.mark.parametrize(("name", "kind"), [("CLIP", "softmax"), ("Siglip", "sigmoid")])
def test_nothing_mixed_is_the_loss_of_transformers(name, kind):
    model, out, images = of_transformers(name)
    mix = TextAwareMix(6)
    plan = mix.plan(normal(4, 6, 6), seeded())
    nothing = dataclasses.replace(plan, k=0 * plan.k, lam=torch.ones(4))
    bias = model.logit_bias if kind == "sigmoid" else None

    def encode(images):
        return model(pixel_values=images, input_ids=torch.ones(1, 8, dtype=torch.int64)).image_embeds

    def term(plan):
        options = {"scale": model.logit_scale.exp(), "bias": bias, "kind": kind}
        return mixed_term(encode, images, out.text_embeds, plan, mix, **options)[0]

    torch.testing.assert_close(term(nothing), out.loss)
    assert abs(term(plan) - out.loss) > 1e-4
