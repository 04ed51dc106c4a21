"""Which patches texts ask for, which are kept, and why: numbers, and a picture (ours)."""

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from nonet.data.captions import clean_caption
from nonet.data.image_augment import PlainImages
from nonet.data.images import open_image
from nonet.errors import UserError
from nonet.files import replacing, write_text
from nonet.vision_language.pair_data import TextBatch
from nonet.vision_language.patch_pictures import LINE, WHITE, faded, heat_over, shortened, write
from pta_vlp.model_folders import Loaded, load_model
from pta_vlp.patch_selection import select
from pta_vlp.pruned_vision import PrunedVision
from pta_vlp.select_options import SelectOptions

if TYPE_CHECKING:
    from PIL.Image import Image

    from pta_vlp.commands.heatmap import Options

# Shapes: T texts about one image, N = Gh x Gw patches, k kept, d width.

LEAST, MOST = 192, 360
"""of the longer side of the image in the picture, pixels"""
GAP = 8
RANKED = 26  # pixels of a patch's shorter side in the picture from which its rank is written into it


class HeatMap(NamedTuple):
    """What was thought of an image's patches.

    Attributes:
        grid: Gh, Gw.
        probability: (T, N) float32, that a patch is one of the text's; None: the model has no detector, or
            there is no text.
        attention: (T, N) float32, shares of CLS's attention in the block of the selection, the same for each
            text.
        scores: (T, N) float32, what patches were selected by.
        kept: (T, k) int64 ascending.
    """

    grid: tuple[int, int]
    probability: Tensor | None
    attention: Tensor
    scores: Tensor
    kept: Tensor

    def mask(self, row: int) -> Tensor:
        """(N,) bool, the patches that are kept for a text."""
        return torch.zeros(self.scores.shape[1], dtype=torch.bool).index_fill(0, self.kept[row], True)

    def rank(self, row: int) -> Tensor:
        """(N,) int64, the place of each patch among the scores of a text, from 1; of equal ones the first."""
        order = self.scores[row].argsort(descending=True, stable=True)
        return torch.empty_like(order).index_copy(0, order, torch.arange(1, len(order) + 1))


@torch.inference_mode()  # type: ignore[untyped-decorator]
def look(tower: PrunedVision, pixels: Tensor, text_cls: Tensor | None) -> HeatMap:
    """Look at an image with texts.

    Args:
        tower: with the options of the selection.
        pixels: (3, H, W) float32, normalised.
        text_cls: (T, text width), CLS of the texts behind the text encoder; None: one row without a text.
    """
    options, vision, detector = tower.options, tower.vision, tower.detector
    of_image = torch.zeros(1 if text_cls is None else len(text_cls), dtype=torch.int64)
    trunk = tower.trunk(pixels[None])
    before = vision.blocks(vision.embed(pixels[None]), 0, options.block)
    attention = vision.cls_attention(before, options.block)[of_image]
    probability = None
    if text_cls is not None and detector is not None:
        probability = detector.score(detector(trunk.tokens[:, 1:], text_cls, of_image))
    scores = tower.scores(trunk, text_cls, of_image)
    kept = select(trunk.tokens, scores, options.keep, options.fuse, of_image=of_image).kept
    return HeatMap(vision.grid, probability, attention, scores, kept)


def heat_map(loaded: Loaded, pixels: Tensor, texts: list[str], options: SelectOptions) -> HeatMap:
    """Look at an image with texts, by a model that was saved.

    Args:
        loaded: the model.
        pixels: (3, H, W) float32, normalised.
        texts: T of them; none: one row without a text.
        options: of the selection.

    Raises:
        UserError: the selection needs what the model lacks, or there is no text for it.
    """
    if options.selection == "off":
        raise UserError("selection off keeps all patches: take text, attention, mixed or random to see some")
    tower = PrunedVision(loaded.model.vision, loaded.detector, options)
    if options.by_text and not texts:
        raise UserError(f"selection {options.selection} asks the text, and there is none: give --text")
    cls = None
    if texts:
        ids, mask = TextBatch(loaded.tokenizer, loaded.model.config.max_length)(texts)
        with torch.inference_mode():
            cls = loaded.model.encode_text(ids, mask)[:, 0]
    return look(tower, pixels, cls)


def explain(options: "Options") -> list[str]:
    """Draw the patches of an image file, and write the picture; numbers too, where a file is named.

    Returns:
        Lines to print.

    Raises:
        UserError: no such image or model, or one that cannot select so; a text without words.
    """
    said: list[str] = []
    loaded = load_model(options.model, say=said.append)
    if options.text and loaded.tokenizer is None:
        raise UserError(f"{loaded.folder}: has no tokenizer, so texts cannot be read")
    texts = [_cleaned(text, loaded, said) for text in options.text]
    config = loaded.model.config
    height, width = config.image_size
    image = open_image(options.image, remark=said.append)
    pixels = PlainImages(height=height, width=width, mean=config.mean, deviation=config.deviation)(image)
    chosen = options.on(loaded.options, options.keep)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of a random selection
        found = heat_map(loaded, pixels, texts, chosen)
    sheet = draw_heat_map(image, found, list(options.text) or [""])
    with replacing(options.out) as part:
        sheet.save(part, format="PNG")
    if options.numbers is not None:
        write_text(options.numbers, json.dumps(as_numbers(found, list(options.text)), indent=1) + "\n")
    reasons = [_reason(found, row, text, chosen) for row, text in enumerate(options.text or [""])]
    return [*said, *reasons, f"{options.out}: {sheet.width} x {sheet.height} pixels"]


def draw_heat_map(image: "Image", found: HeatMap, texts: list[str]) -> "Image":
    """A row for each text: the image, what the text asks for, what CLS looks at, and what is kept.

    Args:
        image: RGB, as it was before it was resized for the model.
        found: T rows.
        texts: T, written above the rows; an empty one stands for none.
    """
    from PIL import Image as Images

    shown = _sized(image)
    wide, high = shown.size
    columns = [("image", [shown] * len(texts))]
    if found.probability is not None:
        maps = [heat_over(shown, row.unflatten(0, found.grid), (0.0, 1.0)) for row in found.probability]
        columns.append(("asked for: 0 dark, 1 light", maps))
    maps = [heat_over(shown, row.unflatten(0, found.grid)) for row in found.attention]
    columns.append(("CLS looks at", maps))
    maps = [_ranked(shown, found, row) for row in range(len(texts))]
    columns.append((f"kept: {found.kept.shape[1]} of {found.scores.shape[1]}", maps))
    across, down = wide + GAP, high + 2 * LINE + GAP
    sheet = Images.new("RGB", (GAP + len(columns) * across, GAP + len(texts) * down), "white")
    for row, text in enumerate(texts):
        top = GAP + row * down
        write(sheet, GAP, top, shortened(text or "without a text", sheet.width - 2 * GAP), (0, 0, 0))
        for place, (head, cells) in enumerate(columns):
            left = GAP + place * across
            write(sheet, left, top + LINE, shortened(head, wide))
            sheet.paste(cells[row], (left, top + 2 * LINE))
    return sheet


def as_numbers(found: HeatMap, texts: list[str]) -> dict[str, Any]:
    """A heat map for JSON: `rows`, `columns`, and for each text lists of N numbers, row by row."""
    told = []
    for row in range(len(found.scores)):
        own: dict[str, Any] = {"text": texts[row] if texts else None, "kept": found.kept[row].tolist()}
        parts = {"score": found.scores, "attention": found.attention, "probability": found.probability}
        own |= {name: part[row].tolist() for name, part in parts.items() if part is not None}
        told.append(own)
    return {"rows": found.grid[0], "columns": found.grid[1], "texts": told}


def _cleaned(text: str, loaded: Loaded, said: list[str]) -> str:
    """A text as training has it; what is cut off is said."""
    cleaned = clean_caption(text)
    if not cleaned:
        raise UserError(f"text {text!r}: nothing is left of it without punctuation")
    most = loaded.model.config.max_length
    pieces = len(TextBatch(loaded.tokenizer, most).pieces([cleaned])[0]) + 2
    if pieces > most:
        said.append(f"text {text!r}: {pieces} word pieces, the model takes {most}; the rest is cut off")
    return cleaned


def _reason(found: HeatMap, row: int, text: str, options: SelectOptions) -> str:
    """A line that says why those patches are kept."""
    kept, count = found.mask(row), found.scores.shape[1]
    by = {
        "text": "the text's scores", "attention": "CLS's attention", "random": "chance",
        "mixed": f"{options.alpha:g} of the text's scores and {1 - options.alpha:g} of CLS's attention",
    }[options.selection]  # fmt: skip
    name = repr(text) if text else "without a text"
    line = f"{name}: {int(kept.sum())} of {count} patches kept by {by}, behind block {options.block}"
    what, values = ("probability", found.probability) if options.by_text else ("attention", found.attention)
    if values is None or options.selection == "random":
        return line
    line += f"; {what} {_span(values[row][kept])} of the kept"
    return line if bool(kept.all()) else f"{line}, {_span(values[row][~kept])} of the dropped"


def _span(values: Tensor) -> str:
    return f"{values.min():.3f} to {values.max():.3f}"


def _sized(image: "Image") -> "Image":
    """The image with a longer side that can be looked at."""
    from PIL import Image as Images

    longer = max(image.size)
    scale = min(MOST, max(LEAST, longer)) / longer
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    kind = Images.Resampling.NEAREST if scale > 2 else Images.Resampling.BICUBIC
    return image if scale == 1 else image.resize(size, kind)


def _ranked(shown: "Image", found: HeatMap, row: int) -> "Image":
    """The image with only the kept patches light, and their ranks in them where there is room."""
    rows, columns = found.grid
    picture = faded(shown, found.mask(row).unflatten(0, found.grid))
    high, wide = shown.height / rows, shown.width / columns
    if min(high, wide) >= RANKED:
        ranks = found.rank(row)
        for patch in found.kept[row].tolist():
            y, x = divmod(patch, columns)
            write(
                picture, round(x * wide) + 3, round(y * high) + 2, str(int(ranks[patch])), WHITE, edged=True
            )
    return picture
