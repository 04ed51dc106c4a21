"""A detector for other programs: a plain folder of transformers, or ONNX; each proved equal (ours).

What was written is read back by the other program, run on a padded batch of random images, and compared,
before the folder appears.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from nonet.errors import RunFailed, UserError
from nonet.files import write_json
from nonet.training.hub import no_bars, save_folder
from updetr.batches import Images
from updetr.hf_configs import preprocessor
from updetr.loading import load_model, write_detector
from updetr.model_card import card
from updetr.model_folders import read_source
from updetr.onnx_export import ONNX, run_onnx, write_onnx
from updetr.query_patches import PatchDetector

Format = Literal["hf", "onnx"]
TOLERANCE = 1e-4
"""largest difference that is taken for equal: of a logit in shares of the largest one, or of a box's side"""
_SHAPES = {"hf": (2, 160, 128), "onnx": (3, 128, 224)}  # images, height, width; ONNX is traced with another
_TRAINING = (
    "trained further in transformers, all of the backbone learns, where DETR keeps its stem and first stage "
    "as they are: freeze those with requires_grad_(False)"
)


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: where.
        format: hf or onnx.
        difference: largest difference between its outputs and the source's, see `TOLERANCE`.
        bytes: of the files with weights.
        source_bytes: of the source's weights.
        notes: what a user of the folder has to know, a line each.
    """

    folder: Path
    format: Format
    difference: float
    bytes: int
    source_bytes: int
    notes: tuple[str, ...]


def export(name: str | Path, folder: Path, to: Format, *, overwrite: bool = False) -> Exported:
    """Write a model for other programs, whole or not at all.

    Args:
        name: as for `loading.load_model`.
        folder: new, or written by us.
        to: hf: config.json, model.safetensors and preprocessor_config.json for transformers; onnx: model.onnx
            with inputs of any size, see `updetr.onnx_export`.
        overwrite: replace a folder of ours.

    Raises:
        UserError: no such model, one that the format cannot hold, or the folder holds something else.
        RunFailed: what was written gives other numbers; nothing is left behind.
    """
    source = read_source(name)
    model = load_model(name)
    detector = model.detector if isinstance(model, PatchDetector) else model
    notes = []
    if isinstance(model, PatchDetector):
        notes.append("the heads for patches stay behind: only this package locates patches")
    if to == "hf":
        if source.config.dilation:
            raise UserError(
                f"{name}: transformers has a dilated last stage (DC5) through timm alone, so that nothing "
                "could be proved here; export onnx instead"
            )
        notes.append(_TRAINING)
    writer = _Writer(detector, to, source.sizes)
    text = card(source.config, Path(folder).name, source.facts, patches=False, onnx=to == "onnx", notes=notes)
    save_folder(writer, None, Path(folder), text, overwrite=overwrite)
    size = sum(tensor.numel() * tensor.element_size() for tensor in detector.state_dict().values())
    return Exported(Path(folder), to, writer.apart, writer.bytes, size, tuple(notes))


class _Writer:
    """What `save_folder` calls: one of the formats, checked where it was written."""

    def __init__(self, detector: Any, to: Format, sizes: tuple[int, int]) -> None:
        self.detector, self.to, self.sizes = detector, to, sizes
        self.apart, self.bytes = 0.0, 0

    def save_pretrained(self, folder: Path) -> None:
        """Write the files, read them back, compare.

        Raises:
            RunFailed: other numbers.
        """
        folder.mkdir(parents=True, exist_ok=True)
        images = padded_images(*_SHAPES[self.to])
        if self.to == "hf":
            write_detector(self.detector, folder, self.sizes)
            found = _run_hf(folder, images)
        else:
            write_onnx(self.detector, folder / ONNX)
            write_json(folder / "preprocessor_config.json", preprocessor(*self.sizes))
            found = run_onnx(folder / ONNX, images)
        with torch.no_grad():
            outputs = self.detector(images)
        logits, boxes = outputs.logits[-1], outputs.boxes[-1]
        scale = max(1.0, float(logits.abs().max()))
        self.apart = max(
            float((logits - found[0]).abs().max()) / scale, float((boxes - found[1]).abs().max())
        )
        if not self.apart <= TOLERANCE:
            raise RunFailed(
                f"{self.to}: read back, the model gives other numbers (by {self.apart:g}, allowed "
                f"{TOLERANCE:g}); nothing was written"
            )
        self.bytes = sum(path.stat().st_size for path in folder.iterdir() if path.suffix != ".json")


def padded_images(count: int, height: int, width: int) -> Images:
    """Random images of a batch, the last one smaller than the others in both directions.

    Args:
        count: B.
        height: H, pixels.
        width: W, pixels.
    """
    random = torch.Generator().manual_seed(0)
    pixels = torch.randn(count, 3, height, width, generator=random)
    mask = torch.ones(count, height, width, dtype=torch.bool)
    mask[-1, height * 3 // 4 :] = False
    mask[-1, :, width * 5 // 8 :] = False
    return Images(pixels * mask[:, None], mask)


def _run_hf(folder: Path, images: Images) -> tuple[Tensor, Tensor]:
    from transformers import AutoModelForObjectDetection

    with no_bars(), torch.random.fork_rng(devices=[]), torch.no_grad():
        model = AutoModelForObjectDetection.from_pretrained(folder).eval()
        found = model(pixel_values=images.pixels, pixel_mask=images.mask.long())
    return found.logits, found.pred_boxes
