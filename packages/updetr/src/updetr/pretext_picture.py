"""A picture of the pretext: images with the boxes of their patches, and what a model answers (ours)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nonet.data.images import IMAGENET_MEAN, IMAGENET_STD
from nonet.errors import UserError
from nonet.files import replacing
from nonet.kernels.set_cost import corners
from updetr.drawing import COLOURS, Marks, beside, draw, titled
from updetr.loading import load_model
from updetr.model_folders import PRETEXT, model_folder, read_config_of, read_note
from updetr.pretext_data import Pretext, PretextItem, prepare
from updetr.pretext_files import build_pretext
from updetr.pretrain_module import floor_overlap, found_overlap, surest_boxes
from updetr.query_patches import PatchDetector
from updetr.train_options import PretextOptions
from updetr.training_facts import pretext_sizes

if TYPE_CHECKING:
    from PIL.Image import Image

    from updetr.commands.show_pretext import Options

# Shapes: B images, M patches an image.

THUMBNAIL = 64  # pixels of a patch's side in the picture
GAP = 4
_DEAF = "a detector that is told no patches; give a pre-trained one"


def show_pretext(options: "Options") -> list[str]:
    """Draw what pre-training sees with these options, and write it.

    Args:
        options: of the verb `show-pretext`.

    Returns:
        Lines to print: what was drawn and, with a model, how well it finds the patches.

    Raises:
        UserError: no images, a model without patches, or one of fewer patches.
    """
    said: list[str] = []
    task = task_of(options)
    data = build_pretext(task, seed=options.seed, say=said.append, limit=options.count)
    items = [data[(options.epoch, index)] for index in range(len(data))]
    said += notes_of(items)
    batch = data.collate(items)
    pretext = prepare(batch, task.patch_size, augment=options.augment)
    answers = None
    if options.model is not None:
        model = load_model(options.model)
        if not isinstance(model, PatchDetector):
            raise UserError(f"{options.model}: {_DEAF}")
        with torch.inference_mode():
            outputs = model(pretext.images, model.patch_features(pretext.patches))
        answers = surest_boxes(outputs, task.num_patches)
        found = found_overlap(outputs, pretext.targets).mean()
        floor = floor_overlap(pretext.targets).mean()
        said.append(f"overlap of patches and answers {found:.2f}; of a constant box {floor:.2f}")
    sheet = beside(
        pictures(pretext, answers, [Path(name).name for name in batch["ids"]]),
        columns=options.columns,
        gap=4 * GAP,
    )
    with replacing(options.out) as part:
        sheet.save(part, format="PNG")
    said.append(f"{options.out}: {len(data)} images, each with {task.num_patches} patches")
    return said


def task_of(options: "Options") -> PretextOptions:
    """The task that is drawn: what the options do not say is as the model was trained.

    Raises:
        UserError: no model, one without patches, or one of fewer patches.
    """
    if options.model is None:
        return options.pretext()
    folder = model_folder(options.model)
    config, _ = read_config_of(folder)
    if not (folder / PRETEXT).is_file():
        raise UserError(f"{options.model}: {_DEAF}")
    if options.num_patches is not None and options.num_patches > config.patches:
        raise UserError(
            f"{options.model} takes {config.patches} patches, and num_patches is {options.num_patches}"
        )
    note = read_note(folder)
    return options.pretext(pretext_sizes(config, note[2] if note else {}))


def notes_of(items: Sequence[PretextItem]) -> list[str]:
    """Lines on what was odd about the files: which are left out, what stands in their place, and why.

    Args:
        items: of one epoch.
    """
    return [
        f"{note.file}: {note.text}" + (f" (left out: {item.file} is in its place)" if note.skipped else "")
        for item in items
        for note in dict.fromkeys(item.notes)
    ]


def pictures(
    pretext: Pretext, answers: Tensor | None = None, names: Sequence[str] | None = None
) -> "list[Image]":
    """Each image of a batch with its patches' boxes in colours of their own, and the patches below it.

    Args:
        pretext: a batch with images.
        answers: (B, M, 4) cxcywh in 0..1 of what a model says, drawn dashed; None: there is none.
        names: B texts that stand at the bottom; None: none do.

    Returns:
        B pictures.
    """
    if pretext.images is None:
        raise ValueError("a batch of features has no images to draw")
    pixels_BHWC, patches_BMPPC = _bytes(pretext.images.pixels), _bytes(pretext.patches)
    mask, patches = pretext.images.mask, pretext.patches.shape[1]
    boxes = pretext.targets.boxes.unflatten(0, (-1, patches))
    found = []
    for place, pixels_HWC in enumerate(pixels_BHWC):
        height, width = int(mask[place, :, 0].sum()), int(mask[place, 0].sum())
        answer = None if answers is None else answers[place]
        picture = _one(pixels_HWC[:height, :width], patches_BMPPC[place], boxes[place], answer)
        found.append(picture if names is None else titled(picture, names[place]))
    return found


def _one(pixels_HWC: np.ndarray, patches_MPPC: np.ndarray, boxes: Tensor, answers: Tensor | None) -> "Image":
    from PIL import Image, ImageOps

    picture = Image.fromarray(pixels_HWC)
    scale = torch.tensor([picture.width, picture.height] * 2)
    numbers = range(len(boxes))
    empty = [""] * len(boxes)
    picture = draw(picture, Marks(corners(boxes.cpu()) * scale, empty, numbers))
    if answers is not None:
        picture = draw(picture, Marks(corners(answers.cpu()) * scale, empty, numbers), dashed=True)
    side = THUMBNAIL + 2 * GAP
    columns = max(1, (picture.width + GAP) // (side + GAP))
    framed = [
        ImageOps.expand(
            Image.fromarray(patch).resize((THUMBNAIL, THUMBNAIL)), GAP, COLOURS[number % len(COLOURS)]
        )
        for number, patch in enumerate(patches_MPPC)
    ]
    strip = beside(framed, columns=columns, gap=GAP)
    page = Image.new("RGB", (max(picture.width, strip.width), picture.height + GAP + strip.height), "white")
    page.paste(picture)
    page.paste(strip, (0, picture.height + GAP))
    return page


def _bytes(pixels: Tensor) -> np.ndarray:
    """(..., 3, H, W) normalised floats as (..., H, W, 3) uint8."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    levels = (pixels.cpu() * std + mean) * 255
    found: np.ndarray = levels.round().clamp(0, 255).to(torch.uint8).movedim(-3, -1).contiguous().numpy()
    return found
