"""The vision tower that keeps what a text asks for, against timm's full one and against merged tokens.

ViT-B/16 of CLIP's kind with random weights, on one thread. Ours counts all it does: the detector, selection
and the fused token. With one text an image: against `forward_features` of the very same transformer, and
against token merging (`token_merging.py`) to the same number of final tokens. With five texts an image:
against the full transformer for each pair, which is how the released loops go; against ours without a shared
trunk; and against a full transformer that runs once per image and keeps its tokens for all five, as it does
not know the text: there ours has more to do as soon as the texts are many, and the row says so, unless it
selects late, behind the last block, which shortens only what comes behind the tower.

Before anything is timed: ours with keep 1 gives timm's tokens, and so does merging of nothing; what is kept
has the number of tokens that it should have, and sharing the trunk changes no token.

    python -m benchmarks.pta_vlp.speed_vision    (some ten minutes on one core)
"""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from benchmarks.harness import Row, save, table, versus
from benchmarks.pta_vlp.token_merging import merged_forward, merging_macs, schedule
from torch import Tensor

from nonet.vision_language.pair_config import TINY, PairConfig
from nonet.vision_language.patch_detector import PatchDetector
from nonet.vision_language.vision import build_vision
from pta_vlp.cost import Tower, full_macs, kept_tokens, pruned_macs, tower_of
from pta_vlp.pruned_vision import PrunedVision
from pta_vlp.select_options import SelectOptions

SEED = 0
TEXTS = 5  # an image
IMAGES = {1: 4, TEXTS: 2}  # by texts an image
BLOCKS = (1, 3, 5)  # behind which patches are selected
KEEPS = (0.3, 0.5, 0.7)
FAR = 0.15  # apart from the cost that was counted


def main(*, tiny: bool = False) -> list[Row]:
    """A row a setting and rival."""
    torch.set_num_threads(1)
    pruned = made_up(tiny)
    tower = tower_of(pruned.vision)
    how: dict[str, Any] = {"rounds": 1 if tiny else 3, "min_seconds": 0}
    rows = []
    with torch.inference_mode():
        for texts in (1, TEXTS):
            inputs = some_pairs(pruned, 1 if tiny else IMAGES[texts], texts)
            settings = [SelectOptions(block=b, keep=keep) for b in BLOCKS for keep in KEEPS]
            if tiny:
                settings = [SelectOptions(block=0, keep=0.5)]
            if texts > 1:
                settings.append(replace(settings[-1], keep=0.5, late=True))
            for pruned.options in settings:
                rows += rows_of(pruned, tower, *inputs, texts=texts, how=how)
    print(table(rows))
    if not tiny:
        about: dict[str, Any] = {
            "versions": ("torch", "timm"), "seed": SEED,
            "data": f"normal images of 224 pixels, random ViT-B/16, {IMAGES[1]} images with one text, "
            f"{IMAGES[TEXTS]} with {TEXTS}",
        }  # fmt: skip
        single = [row for row in rows if ", 1 text an image" in row["name"]]
        save("pta-vlp", single, table="one-text", **about)
        save("pta-vlp", [row for row in rows if row not in single], table="five-texts", **about)
    return rows


def rows_of(
    pruned: PrunedVision, tower: Tower, images: Tensor, text: Tensor, of_image: Tensor, *, texts: int,
    how: dict[str, Any],
) -> list[Row]:  # fmt: skip
    """Ours against each rival, at one setting."""
    options = pruned.options
    where = "the last block" if options.late else f"block {options.block}"
    about = f"keep {options.keep:g} behind {where}, {texts} text{'s' * (texts > 1)} an image"
    ours, pairs = partial(once_per_image, pruned, images, text, of_image), len(text)
    full = partial(pruned.vision.vit.forward_features, images[of_image])
    spent, whole = pruned_macs(tower, options, texts=texts), full_macs(tower)
    check = partial(right, pruned, images, text, of_image)

    def row(rival: str, peer: Any, macs: float) -> Row:
        found = versus(f"{about}, against {rival}", ours, peer, check, unit="pairs", per_call=pairs, **how)
        found |= {
            "ours_gmac": spent / 1e9, "peer_gmac": macs / 1e9, "counted": macs / spent,
            "tokens": kept_tokens(tower, options),
        }  # fmt: skip
        apart = found["ratio"] / found["counted"] - 1
        remark = f", {apart:+.0%} apart" if abs(apart) > FAR else ""
        print(f"{found['name']}: x{found['ratio']:.2f}, by count x{found['counted']:.2f}{remark}", flush=True)
        return found

    found = [row("timm's full transformer", full, whole)]
    if texts == 1:
        steps = schedule(1 + tower.patches, kept_tokens(tower, options), tower.depth)
        merged = partial(merged_forward, pruned.vision, images, steps)
        found.append(row("merged tokens", merged, merging_macs(1 + tower.patches, steps, tower.width)))
    elif options.keep == 0.5:
        apart = partial(once_per_pair, pruned, images, text, of_image)
        found.append(row("ours without a shared trunk", apart, pruned_macs(tower, options)))
        kept = partial(full_once, pruned, images, of_image)
        found.append(row("a full transformer once an image", kept, whole / texts))
    return found


def made_up(tiny: bool) -> PrunedVision:
    """A tower and a detector with random weights."""
    torch.manual_seed(SEED)
    vision = build_vision(TINY if tiny else PairConfig(image=224))
    return PrunedVision(vision, PatchDetector(vision.width), SelectOptions(block=0)).eval()


def some_pairs(pruned: PrunedVision, count: int, texts: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images, CLS of texts, and which image each text is about."""
    random = torch.Generator().manual_seed(SEED)
    images = torch.randn(count, 3, *pruned.vision.image_size, generator=random)
    text = torch.randn(count * texts, pruned.vision.width, generator=random)
    return images, text, torch.arange(count).repeat_interleave(texts)


def once_per_image(pruned: PrunedVision, images: Tensor, text: Tensor, of_image: Tensor) -> Tensor:
    """Ours: one trunk for all texts of an image."""
    return pruned(images, text, of_image).tokens


def once_per_pair(pruned: PrunedVision, images: Tensor, text: Tensor, of_image: Tensor) -> Tensor:
    """Ours without that."""
    return pruned(images[of_image], text).tokens


def full_once(pruned: PrunedVision, images: Tensor, of_image: Tensor) -> Tensor:
    """All tokens of each image, handed to all its texts."""
    return pruned.vision.vit.forward_features(images)[of_image]


def right(
    pruned: PrunedVision, images: Tensor, text: Tensor, of_image: Tensor, ours: Tensor, theirs: Tensor
) -> bool | str:
    """Whether nothing but the selection tells ours from timm's, and counts of tokens are as said."""
    options, vision = pruned.options, pruned.vision
    plain = vision.vit.forward_features(images)
    pruned.options = replace(options, keep=1.0)
    apart = (pruned(images, text, of_image).tokens - plain[of_image]).abs().max().item()
    pruned.options = options
    if apart > 1e-5:
        return f"with all patches, by {apart:.3g}"
    apart = (merged_forward(vision, images, [0] * vision.depth) - plain).abs().max().item()
    if apart > 1e-3:
        return f"merging of nothing, by {apart:.3g}"
    pairs = (once_per_pair(pruned, images, text, of_image) - ours).abs().amax((1, 2)) > 1e-3
    if pairs.float().mean() > 0.2:  # rounding may decide who is the last one kept of a pair
        return f"{int(pairs.sum())} of {len(pairs)} pairs without a shared trunk"
    wanted = kept_tokens(tower_of(vision), options)
    if ours.shape[1] != wanted or theirs.shape[1] not in (wanted, plain.shape[1]):
        return f"{ours.shape[1]} and {theirs.shape[1]} tokens, not {wanted}"
    return True


if __name__ == "__main__":
    main()
