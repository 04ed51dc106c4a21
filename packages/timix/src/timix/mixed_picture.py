"""A picture of mixed images: what was cut, where it went, what the label is (ours)."""

import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nonet.data.batching import generator
from nonet.data.image_augment import PlainImages, TrainImages, as_picture
from nonet.data.image_text_pairs import PairTable, read_pairs
from nonet.errors import UserError
from nonet.files import replacing
from nonet.vision_language.pair_config import PairConfig
from nonet.vision_language.pair_data import PairDataset, PairItem
from nonet.vision_language.pair_folders import load_pair_model
from nonet.vision_language.patch_pictures import BLUE, LINE, ORANGE, as_image, framed, heat, write
from timix.scoring import scores_of_pairs
from timix.text_aware_mix import MixPlan, TextAwareMix

if TYPE_CHECKING:
    from PIL.Image import Image

    from timix.commands.preview import Options

# Shapes: B images, Gh x Gw patches.

TARGET, PARTNER = ORANGE, BLUE  # colours of the window that is covered, and of what covers it
SIDE = 192  # least side of an image in the picture, pixels
GAP = 8


def preview(options: "Options") -> list[str]:
    """Draw a batch of mixed images, and write the picture.

    Args:
        options: of the verb `preview`.

    Returns:
        Lines to print.

    Raises:
        UserError: no pairs, fewer than two images, no such model, or one that cannot score.
    """
    said: list[str] = []
    table = read_pairs(options.pairs, folder=options.images, split=options.split, remark=said.append)
    if len(table) < 2:
        raise UserError(f"{options.pairs[0]}: {len(table)} image; mixing takes two at least")
    options = replace(options, n=min(options.n, len(table)))
    loaded = None
    if options.model is not None:
        loaded = load_pair_model(options.model, say=said.append)
    config = loaded.model.config if loaded else _plain_config(options)
    items = _items(options, table, config)
    images = torch.stack([item.image for item in items])
    mix, scores, note = _scores(options, config, loaded, items, images)
    said += note
    plan = mix.plan(scores, generator(options.seed, "mix", options.epoch))
    mixed = as_picture(mix.pixels(images, plan), config.mean, config.deviation)
    plain = as_picture(images, config.mean, config.deviation)
    sheet = draw_mixed(
        plain, mixed, plan, [item.caption for item in items], scores=scores if loaded and note == [] else None
    )
    with replacing(options.out) as part:
        sheet.save(part, format="PNG")
    lam = plan.lam.mean().item()
    sides = sorted(set(plan.k.tolist()))
    said.append(
        f"{options.out}: {len(items)} mixed images, {mix.region}, windows of "
        f"{' and '.join(map(str, sides))} of {plan.grid[0]} x {plan.grid[1]} patches; "
        f"an image keeps {lam:.1%} of its label"
    )
    return said


def draw_mixed(
    images: Tensor, mixed: Tensor, plan: MixPlan, captions: list[str], *, scores: Tensor | None = None
) -> "Image":
    """A row for each mixed image: the image, its partner, the mix, its scores, and the label.

    Args:
        images: (B, 3, H, W) uint8.
        mixed: (M, 3, H, W) uint8, in the order of the plan's rows.
        plan: of these images.
        captions: B texts.
        scores: (B, Gh, Gw) float; None: they are not drawn.

    Returns:
        The picture.
    """
    from PIL import Image

    height, width = images.shape[-2:]
    zoom = max(1, -(-SIDE // min(height, width)))
    patch = height // plan.grid[0] * zoom
    columns = 3 if scores is None else 5
    wide, high = columns * (width * zoom + GAP) - GAP, height * zoom + 2 * LINE + GAP
    sheet = Image.new("RGB", (wide + 2 * GAP, len(mixed) * (high + GAP) + LINE + 2 * GAP), "white")
    heads = ["image", "partner", "mixed", "scores of the image", "of the partner (light: more)"][:columns]
    for place, head in enumerate(heads):
        write(sheet, GAP + place * (width * zoom + GAP), GAP, head)
    for row in range(len(mixed)):
        own, other = int(plan.rows[row]), int(plan.partner[row])
        side = int(plan.k[row]) * patch
        paste = _corner(plan.paste_yx[row], patch)
        cut = _corner(plan.cut_yx[row], patch)
        cells = [
            framed(as_image(images[own], zoom), paste, side, TARGET),
            framed(as_image(images[other], zoom), cut, side, PARTNER),
            framed(as_image(mixed[row], zoom), paste, side, PARTNER),
        ]
        if scores is not None:
            for number, corner, colour in ((own, paste, TARGET), (other, cut, PARTNER)):
                shown = heat(scores[number], (width * zoom, height * zoom))
                cells.append(framed(shown, corner, side, colour))
        top = GAP + LINE + row * (high + GAP)
        for place, cell in enumerate(cells):
            sheet.paste(cell, (GAP + place * (width * zoom + GAP), top))
        lam = float(plan.lam[row])
        texts = ((f"{lam:.3f}", captions[own], TARGET), (f"{1 - lam:.3f}", captions[other], PARTNER))
        for line, (share, caption, colour) in enumerate(texts):
            prefix = "1/1" if plan.kind == "joined" else share
            shown = textwrap.shorten(caption, width=max(20, wide // 7 - 8), placeholder=" ...")
            write(sheet, GAP, top + height * zoom + 2 + line * LINE, f"{prefix}  {shown}", colour)
    return sheet


def _plain_config(options: "Options") -> PairConfig:
    """Sizes and normalisation where there is no model; its other parts are never built."""
    return PairConfig(image=options.image, patch=options.patch)


def _items(options: "Options", table: PairTable, config: PairConfig) -> list[PairItem]:
    height, width = config.image_size
    common: dict[str, Any] = {"mean": config.mean, "deviation": config.deviation}
    augment, transform = options.augment, PlainImages(height=height, width=width, **common)
    if options.augmented:
        transform = TrainImages(
            height=height, width=width, scale=augment.scale, flip=augment.flip,
            operations=augment.operations, magnitude=augment.magnitude, **common,
        )  # type: ignore[assignment]  # fmt: skip
    data = PairDataset(table, transform, seed=options.seed, careful_flip=augment.careful_flip)
    return [data[(options.epoch, index)] for index in range(options.n)]


def _scores(
    options: "Options", config: PairConfig, loaded: Any, items: list[PairItem], images: Tensor
) -> tuple[TextAwareMix, Tensor, list[str]]:
    """The mixer, scores (B, Gh, Gw), and what is to be said about them."""
    mix = options.mix
    region, said = mix.chosen, list[str]()
    scores = torch.zeros(len(images), *config.grid)
    if region in ("maxmin", "aligned"):
        if loaded is None:
            region = "random"
            said.append("without --model nothing says which patches matter: windows are anywhere")
        else:
            block = min(options.loc, loaded.model.vision.depth - 1)
            captions = [item.caption for item in items]
            with torch.inference_mode():
                scores = scores_of_pairs(loaded, mix.score, images, captions, block)
    elif loaded is not None:
        said.append(f"mix.region {region} looks at no scores")
    made = TextAwareMix(
        config.grid, mix.r_min, mix.r_max, partner=mix.partner, region=region,
        per_sample_k=mix.per_sample_k, clamp=mix.clamp,
    )  # fmt: skip
    return made, scores, said


def _corner(place_yx: Tensor, patch: int) -> tuple[int, int]:
    y, x = place_yx.tolist()
    return y * patch, x * patch
