"""An iteration of pre-training (regions, ITC, ITM, MLM, PrefixLM, mixing), against the released schedule.

`plain_step` tells that schedule again. Ours has one backward pass and one step; mixes embeddings of patches
that are there; encodes texts once; goes through the vision tower once an image with regions, as far as the
detector looks; fetches negatives at once; averages weights together; and gives the teacher no work that
nobody looks at. Labels are soft on both sides, and the rate is 0, so that all losses agree to rounding.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from benchmarks.harness import Row, peak_memory, save, table, versus
from benchmarks.timix.plain_step import ALPHA, CLIP, MOMENTUM, Iteration, iteration, plain_iteration
from torch import Tensor, nn
from torch.nn import functional as F

from nonet.vision_language.pair_config import PairConfig
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.patch_detector import PatchDetector
from timix import TextAwareMix, mix_targets, mixed_itc

SEED = 0
SIZES = {"width": 128, "depth": 6, "image": 128, "pairs": 16, "images": 4, "regions": 12, "words": 2000}
TINY = {"width": 32, "depth": 2, "image": 48, "pairs": 4, "images": 2, "regions": 3, "words": 50}
LENGTH = 12  # tokens of a text


def main(*, tiny: bool = False) -> list[Row]:
    """Time and memory of both schedules; and what mixed images add to a step of either."""
    torch.set_num_threads(1)
    make = partial(made_up, TINY if tiny else SIZES)
    ours, theirs = iteration(make), iteration(make)
    name = "iteration of {pairs} pairs and {regions} regions in {images} images".format(
        **(TINY if tiny else SIZES)
    )
    row = versus(
        name,
        partial(our_iteration, ours),
        partial(plain_iteration, theirs),
        same_losses,
        rounds=1 if tiny else 5,
        min_seconds=0,
        unit="pairs",
        per_call=len(ours.batch["images"]),
    )
    if not tiny:
        row["ours_mib"] = peak_memory(our_iteration, prepare=partial(iteration, make))
        row["peer_mib"] = peak_memory(plain_iteration, prepare=partial(iteration, make))
    more = [
        added(f"{who}: {what}", step, make, tiny, regions=regions)
        for who, step in (("ours", our_iteration), ("released", plain_iteration))
        for what, regions in (("mixed images", False), ("mixed images and regions", True))
    ]
    print(table([row]), table(more), sep="\n\n")
    if not tiny:
        about = {"versions": ("torch", "timm"), "data": "noise", "seed": SEED, **SIZES}
        save("timix", [row], table="step", **about)
        save("timix", more, table="added", **about)
    return [row, *more]


def added(name: str, step: Callable[..., Any], make: Callable[[], Any], tiny: bool, *, regions: bool) -> Row:
    """What mixed images, with or without regions, add to a step that has neither, the rest being equal."""
    base, whole = iteration(make), iteration(make)
    found = versus(
        name, partial(step, base, regions=False, mixing=False), partial(step, whole, regions=regions),
        same_main_losses, rounds=1 if tiny else 5, min_seconds=0,
    )  # fmt: skip
    low, middle, high = (100 * (found[part] - 1) for part in ("ratio_low", "ratio", "ratio_high"))
    return {
        "name": name,
        "base step, CPU s": f"{found['ours_seconds']:.2f}",
        "with them, CPU s": f"{found['peer_seconds']:.2f}",
        "added": f"{middle:+.0f} % ({low:+.0f} to {high:+.0f})",
    }


def made_up(sizes: dict[str, int]) -> tuple[PairModel, nn.Module, dict[str, Tensor], int, int]:
    """Model, detector, batch, the block that the detector looks behind, and the side of the window."""
    torch.manual_seed(SEED)
    width, depth, words = sizes["width"], sizes["depth"], sizes["words"]
    config = PairConfig(
        vit="", vit_width=width, vit_depth=depth, vit_heads=width // 16, image=sizes["image"], patch=8,
        vit_attention_dropout=0.0, text="", vocabulary=words, text_width=width, text_heads=width // 16,
        text_hidden=4 * width, text_layers=depth, fusion_layers=depth // 2, decoder_layers=depth // 2,
        embed=width, dropout=0.0,
    )  # fmt: skip
    model = PairModel(config).train()
    grid = sizes["image"] // 8
    count, some, regions = sizes["pairs"], sizes["images"], sizes["regions"]
    ids = torch.randint(5, words, (count, LENGTH))
    masked = torch.rand(count, LENGTH) < 0.15
    masked[:, 1] = True
    batch = {
        "images": torch.randn(count, 3, sizes["image"], sizes["image"]),
        "ids": ids,
        "masked_ids": ids.masked_fill(masked, 4),
        "labels": ids.masked_fill(~masked, -100),
        "prefix_ids": ids[:, : LENGTH // 2],
        "target_ids": ids[:, LENGTH // 2 :],
        "region_images": torch.randn(some, 3, sizes["image"], sizes["image"]),
        "of_image": torch.arange(regions) % some,
        "region_ids": torch.randint(5, words, (regions, LENGTH)),
        "masks": torch.rand(regions, grid * grid) < 0.3,
    }
    return model, PatchDetector(width), batch, depth // 2 - 1, grid // 2


def our_iteration(it: Iteration, *, regions: bool = True, mixing: bool = True) -> dict[str, Tensor]:
    """All losses, or some of them, in one backward pass; the losses by name."""
    model, batch = it.model, it.batch
    losses = {"regions": _regions(it)} if regions else {}
    text = model.encode_text(batch["ids"])
    patches = model.vision.patches(batch["images"])
    tokens = model.vision.blocks(model.vision.from_patches(patches), 0, it.block + 1)
    image = model.vision.finish(model.vision.blocks(tokens, it.block + 1))
    main, similar, t = _main(it, image, text)
    losses |= main
    if mixing:
        with torch.no_grad():
            logits = it.detector(tokens[:, 1:].detach(), text[:, 0].detach())
            scores = PatchDetector.log_score(logits).unflatten(1, model.vision.grid)
        grid = model.vision.grid
        mix = TextAwareMix(grid, it.side / grid[0], it.side / grid[0])
        plan = mix.plan(scores, torch.Generator().manual_seed(SEED))
        mixed = model.vision.from_patches(mix.tokens(patches, plan))
        v_mix = model.image_features(model.vision.finish(model.vision.blocks(mixed)))
        labels = mix_targets(plan, "soft", similar.detach().softmax(1))
        losses["mixed"] = mixed_itc(v_mix, t, labels, model.tau)[0]
    it.optimizer.zero_grad()
    torch.stack(list(losses.values())).sum().backward()
    nn.utils.clip_grad_norm_([p for group in it.optimizer.param_groups for p in group["params"]], CLIP)
    it.optimizer.step()
    return {name: loss.detach() for name, loss in losses.items()}


def _regions(it: Iteration) -> Tensor:
    model, batch = it.model, it.batch
    text = model.encode_text(batch["region_ids"])[:, 0]
    tokens = model.vision.blocks(model.vision.embed(batch["region_images"]), 0, it.block + 1)
    logits = it.detector(tokens[:, 1:], text, batch["of_image"])
    return F.cross_entropy(logits.flatten(0, 1), batch["masks"].flatten().long())


def _main(it: Iteration, image: Tensor, text: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Losses, similarities and features of texts."""
    model, twin, batch = it.model, it.twin, it.batch
    count = len(image)
    v, t = model.image_features(image), model.text_features(text)
    with torch.no_grad():
        torch._foreach_lerp_(list(twin.parameters()), list(model.parameters()), 1 - MOMENTUM)
        image_m, text_m = twin.encode_image(batch["images"]), twin.encode_text(batch["ids"])
        theirs = twin.image_features(image_m) @ twin.text_features(text_m).T / model.tau
        of_images, of_texts = (ALPHA * part.softmax(1) for part in (theirs, theirs.T))
        of_images.diagonal().add_(1 - ALPHA)
        of_texts.diagonal().add_(1 - ALPHA)
    similar = v @ t.T / model.tau
    itc = (F.cross_entropy(similar, of_images) + F.cross_entropy(similar.T, of_texts)) / 2
    with torch.no_grad():
        others = similar.clone()
        others.fill_diagonal_(-torch.inf)
        hard_images, hard_texts = others.argmax(0), others.argmax(1)
    images = torch.cat([image, image[hard_images], image])
    texts = torch.cat([text, text, text[hard_texts]])
    _, fused = model.fusion(images, None, texts, None)
    itm = F.cross_entropy(model.itm_logits(fused), torch.arange(3 * count).lt(count).long())

    masked = batch["labels"] != -100
    with torch.no_grad():
        _, guess = twin.fusion(image_m, None, twin.encode_text(batch["masked_ids"]), None)
        teacher = twin.mlm_logits(guess[masked]).softmax(-1)
    _, guess = model.fusion(image, None, model.encode_text(batch["masked_ids"]), None)
    teacher = (ALPHA * teacher).scatter_add_(
        1, batch["labels"][masked][:, None], torch.full((len(teacher), 1), 1 - ALPHA)
    )
    losses = {"itc": itc, "itm": itm, "mlm": F.cross_entropy(model.mlm_logits(guess[masked]), teacher)}
    if model.decoder is not None:
        parts = model.fusion(image, None, model.encode_text(batch["prefix_ids"]), None)
        hidden = model.decoder.hidden(batch["target_ids"], None, torch.cat(parts, 1))
        logits = model.decoder.head(hidden[:, :-1])
        losses["prefix"] = F.cross_entropy(logits.flatten(0, 1), batch["target_ids"][:, 1:].flatten())
    return losses, similar, t


def same_main_losses(base: dict[str, Tensor], whole: dict[str, Tensor]) -> bool | str:
    """Whether the losses that both have agree to rounding."""
    return same_losses(base, {name: loss for name, loss in whole.items() if name in base})


def same_losses(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool | str:
    """Whether every loss agrees to rounding."""
    if ours.keys() != theirs.keys():
        return f"{sorted(ours)} and {sorted(theirs)}"
    for name, loss in ours.items():
        if not torch.allclose(loss, theirs[name], rtol=1e-3, atol=1e-5):
            return f"{name}: {loss.item():.6f} and {theirs[name].item():.6f}"
    return True


if __name__ == "__main__":
    main()
