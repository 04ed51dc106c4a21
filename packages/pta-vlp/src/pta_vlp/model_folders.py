"""Models of images and texts with a patch detector, as folders (ours).

To what `nonet.vision_language.pair_folders` writes come

patch_detector.safetensors   the detector; timix reads and writes the same file as its patch predictor
select.json                  how patches were selected in training: the defaults of evaluation
"""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from nonet.errors import UserError
from nonet.options import build
from nonet.training.weight_files import read_object
from nonet.vision_language.pair_folders import load_extra, load_pair_model, save_pair_model
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.patch_detector import PREDICTOR, PatchDetector
from pta_vlp.select_options import SelectOptions

SELECT = "select.json"


class Loaded(NamedTuple):
    """A model from a folder.

    Attributes:
        model: in evaluation mode.
        detector: in evaluation mode; None: the folder has none.
        tokenizer: of transformers; None: the folder has none.
        folder: where it was.
        options: how patches are selected; of a folder that does not say: the defaults behind the middle
            block, by the attention of CLS where there is no detector.
    """

    model: PairModel
    detector: PatchDetector | None
    tokenizer: Any
    folder: Path
    options: SelectOptions


def load_model(
    name: str | os.PathLike[str], *, say: Callable[[str], None] = print, image: int | None = None
) -> Loaded:
    """A model from its folder, with its detector if it has one.

    Args:
        name: folder of a model or run, of this package or of timix, or hub name.
        say: takes the account of the weights if anything does not match.
        image: height and width of images, pixels; None: as the model was trained.

    Raises:
        UserError: no such model, a damaged one, or one whose weights hardly match.
    """
    loaded = load_pair_model(name, say=say, image=image)
    detector: PatchDetector | None = detector_for(loaded.model)
    if not load_extra(loaded.folder, PREDICTOR, detector, say=say):
        detector = None
    options = read_select(loaded.folder, loaded.model.vision.depth, with_detector=detector is not None)
    detector = None if detector is None else detector.eval()
    return Loaded(loaded.model, detector, loaded.tokenizer, loaded.folder, options)


def save_model(
    model: PairModel, detector: PatchDetector | None, tokenizer: Any, folder: str | os.PathLike[str],
    card: str, *, options: SelectOptions, extras: Mapping[str, nn.Module] | None = None,
    files: Mapping[str, str] | None = None, overwrite: bool = False,
) -> Path:  # fmt: skip
    """Write a model's folder, whole or not at all; of several processes the first one writes.

    Args:
        model: what to save.
        detector: None for none.
        tokenizer: of transformers; None for none.
        folder: where.
        card: text of README.md.
        options: how patches were selected.
        extras: further parts by the name of their file, without `.safetensors`, such as a task's head.
        files: further texts by file name.
        overwrite: replace a folder that was written by us.

    Returns:
        The folder.

    Raises:
        UserError: it exists, and may not be replaced.
    """
    parts: dict[str, nn.Module] = {} if detector is None else {PREDICTOR: detector}
    return save_pair_model(
        model, tokenizer, folder, card, extras=parts | dict(extras or {}),
        files={SELECT: select_json(options)} | dict(files or {}), overwrite=overwrite,
    )  # fmt: skip


def detector_for(model: PairModel) -> PatchDetector:
    """A detector with random weights, of the widths of a model."""
    return PatchDetector(model.vision.width, text_width=model.config.text_width)


def untrained_detector(model: PairModel) -> PatchDetector:
    """A detector that has learnt nothing, in evaluation mode, the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return detector_for(model).eval()


def select_json(options: SelectOptions) -> str:
    """The text of `select.json`."""
    return json.dumps(dataclasses.asdict(options), indent=2) + "\n"


def read_select(folder: Path, depth: int, *, with_detector: bool) -> SelectOptions:
    """How patches were selected, from a model's folder.

    Args:
        folder: of the model.
        depth: blocks of its vision tower.
        with_detector: it has a patch detector.

    Raises:
        UserError: the file is damaged, has an unknown name, or a value that does not fit.
    """
    path = folder / SELECT
    if not path.is_file():
        return SelectOptions(selection="text" if with_detector else "attention", block=max(depth // 2 - 1, 0))
    options = build(SelectOptions, [(read_object(path), str(path))])
    if options.block >= depth:
        raise UserError(f"{path}: block {options.block}, but the vision tower has blocks 0 to {depth - 1}")
    return options
