"""Rendered pictures as PNG files. Source: ours."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.files import replacing
from ponderv2.scenes import View
from ponderv2.view_rendering import Picture
from ponderv2.view_sheet import color_image, label_image, normal_image

MOST = 65534
"""millimetres that a depth file can say; 65535 is taken as "none" by some readers"""


def write_pictures(folder: Path, pairs: Sequence[tuple[View, Picture]], world: NDArray[np.float64]) -> None:
    """Write NAME.color.png, .depth.png (16 bits, millimetres, 0 = none), .normal.png, .mask.png and, with
    labels, .label.png (8 or 16 bits, class + 1, 0 = none) and .label-color.png.

    Args:
        folder: made if it is missing.
        pairs: views with what was rendered of them.
        world: (4, 4) from the scene's world to that of the pictures; normals are written in the scene's.
    """
    from PIL import Image

    rotation = world[:3, :3] / np.cbrt(abs(np.linalg.det(world[:3, :3])))
    for view, picture in pairs:
        turned = picture._replace(normal=(picture.normal @ rotation).astype(np.float32))
        files: dict[str, NDArray[Any]] = {
            "color": color_image(picture),
            "depth": np.minimum(np.round(picture.depth * 1000.0), MOST).astype(np.uint16),
            "normal": normal_image(turned),
            "mask": (picture.mask * 255).astype(np.uint8),
        }
        if picture.label is not None:
            shifted = picture.label + 1
            files["label"] = shifted.astype(np.uint8 if shifted.max(initial=0) < 256 else np.uint16)
            files["label-color"] = label_image(picture.label)
        for kind, pixels in files.items():
            with replacing(folder / f"{Path(view.name).name}.{kind}.png") as part:
                Image.fromarray(pixels).save(part, format="PNG")
