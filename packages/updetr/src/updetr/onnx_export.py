"""A detector as one ONNX file for images of any size and number (ours).

Inputs `pixel_values` (images, 3, height, width) float32, normalised, and `pixel_mask` (images, height, width)
int64, 1 where there is an image, both as DETR's image processor gives them. Outputs `logits` (images,
queries, classes + 1) float32, the last no object (without it for detectors with sigmoid classes), and
`pred_boxes` (images, queries, 4) float32, cxcywh in shares of the image's sides.
"""

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nonet.errors import needs
from updetr.batches import Images

ONNX = "model.onnx"
_TRACED = (2, 160, 192)  # images, height, width; not those that the file is checked with
AXES = ("batch", "height", "width")
"""what the axes of any length are called in the file"""
_INSTALL = "updetr[onnx]"


class _Plain(torch.nn.Module):
    """Plain tensors in, plain tensors out."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self.detector(Images(pixel_values, pixel_mask.bool()))
        return outputs.logits[-1], outputs.boxes[-1]


def write_onnx(detector: Any, path: Path) -> None:
    """Write the file.

    Args:
        detector: in evaluation mode, float32, on the CPU.
        path: of the file.

    Raises:
        UserError: the packages are not installed.
    """
    needs("onnxruntime", to="check an ONNX file", install=_INSTALL)
    needs("onnxscript", to="export ONNX", install=_INSTALL)
    count, height, width = _TRACED
    example = (torch.zeros(count, 3, height, width), torch.ones(count, height, width, dtype=torch.int64))
    images, high, wide = AXES
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)  # it warns of each absent package
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of torch's own exporter
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings("ignore", "# The axis name")  # of the mask, which are those of the pixels
            program = torch.onnx.export(
                _Plain(detector).eval(), example, dynamo=True, input_names=["pixel_values", "pixel_mask"],
                output_names=["logits", "pred_boxes"], dynamic_shapes=({0: images, 2: high, 3: wide},
                {0: images, 1: high, 2: wide}), verbose=False, external_data=False,
            )  # fmt: skip
        program.save(str(path))
    finally:
        quiet.setLevel(level)


def run_onnx(path: Path, images: Images) -> tuple[Tensor, Tensor]:
    """Logits and boxes of a batch by onnxruntime, see the top of this file.

    Args:
        path: of the file.
        images: normalised.
    """
    runtime: Any = needs("onnxruntime", to="run an ONNX file", install=_INSTALL)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = {"pixel_values": images.pixels.numpy(), "pixel_mask": images.mask.long().numpy()}
    logits, boxes = session.run(["logits", "pred_boxes"], inputs)
    return torch.from_numpy(logits), torch.from_numpy(boxes)
