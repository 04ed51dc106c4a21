"""Images of an encoded scene at any pose, and how near they come to what a camera saw (ours).

Shapes: H, W of an image; K classes.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from nonet.errors import UserError
from nonet.metrics.image_quality import perceptual_distance, psnr, ssim
from ponderv2.cameras import directions
from ponderv2.ponder import Encoded, PonderModel
from ponderv2.rays import all_rays
from ponderv2.scene_inputs import SceneInput
from ponderv2.scenes import View

WINDOW = 11
"""pixels along a side of what SSIM compares: smaller pictures have none"""
LEAST = 32
"""pixels along a side of what LPIPS compares: its networks have nothing left of less"""
LEAST_SEEN = 0.01
"""share of a picture's pixels that `psnr_seen` is computed from, at least"""
OPAQUE = 0.5
"""a pixel with less weight on its ray is background"""
CHUNK = 4096
"""rays at a time"""


class Picture(NamedTuple):
    """What a model renders of a camera.

    Attributes:
        color: (H, W, 3) float32 in 0..1, over black.
        depth: (H, W) float32 metres along the optical axis, 0 where the mask is False.
        normal: (H, W, 3) float32 of length 1 in the world of the pose, 0 where the mask is False.
        opacity: (H, W) float32, the sum of a ray's weights.
        label: (H, W) int64, the class whose text vector is nearest, -1 where the mask is False; None without
            text vectors.
    """

    color: NDArray[np.float32]
    depth: NDArray[np.float32]
    normal: NDArray[np.float32]
    opacity: NDArray[np.float32]
    label: NDArray[np.int64] | None

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W) where something is seen."""
        return self.opacity >= OPAQUE


class ViewScore(NamedTuple):
    """How near a picture is to a photograph with depth. NaN where nothing can be compared.

    Attributes:
        psnr: dB, of all pixels.
        psnr_seen: dB, of the pixels that the picture has something at; none where these are under a
            hundredth of all, as so few may be right by luck.
        ssim: of all pixels.
        depth_error: mean |depth - true depth| in metres, of pixels that have both.
        relative_error: the same as a share of the true depth.
        whole_error: as `depth_error`, of all pixels with true depth; where nothing is seen the depth counts
            as 0, so that nobody gains by leaving out what is hard.
        seen: share of the pixels with true depth that the picture has something at.
    """

    psnr: float
    psnr_seen: float
    ssim: float
    depth_error: float
    relative_error: float
    whole_error: float
    seen: float

    def plain(self) -> dict[str, float | None]:
        """By name, for JSON: None where there is no number."""
        return {name: value if np.isfinite(value) else None for name, value in self._asdict().items()}


@torch.no_grad()
def render_view(
    model: PonderModel, encoded: Encoded, view: View, *, text: Tensor | None = None, chunk: int = CHUNK
) -> Picture:
    """Render every pixel of a camera.

    Args:
        model: in eval mode: samples on rays are not shaken.
        encoded: of one scene.
        view: its camera and the size of its image, in the sample's world; what it saw is not looked at.
        text: (K, E), a unit vector for each class, for labels.
        chunk: rays at a time.

    Raises:
        ValueError: `encoded` has several scenes.
    """
    if len(encoded.volume) != 1:
        raise ValueError(f"{len(encoded.volume)} scenes are encoded; render one at a time")
    rays = all_rays(view)
    device = encoded.volume.device
    origins, ways = (torch.from_numpy(part).to(device)[None] for part in (rays.origin, rays.direction))
    parts, labels = [], []
    for start in range(0, origins.shape[1], chunk):
        found = model.render_rays(encoded, origins[:, start : start + chunk], ways[:, start : start + chunk])
        parts.append((found.color.clamp(0, 1), found.depth, found.normal, found.opacity))
        if text is not None and found.semantic is not None:
            labels.append((F.normalize(found.semantic, dim=-1) @ text.T).argmax(-1))
    color, distance, normal, opacity = (
        torch.cat([part[place] for part in parts], 1)[0].cpu().numpy() for place in range(4)
    )
    label = torch.cat(labels, 1)[0].cpu().numpy() if labels else None
    height, width = view.depth.shape
    mask = (opacity >= OPAQUE).reshape(height, width)
    v, u = np.divmod(np.arange(view.depth.size), width)
    planar = distance / np.linalg.norm(directions(view, u, v), axis=1)
    lengths = np.linalg.norm(normal, axis=1, keepdims=True)
    normal = (normal / np.maximum(lengths, 1e-6)).reshape(height, width, 3)
    return Picture(
        color.reshape(height, width, 3).astype(np.float32),
        np.where(mask, planar.reshape(height, width), 0).astype(np.float32),
        np.where(mask[..., None], normal, 0).astype(np.float32),
        opacity.reshape(height, width).astype(np.float32),
        None if label is None else np.where(mask, label.reshape(height, width), -1),
    )


def score_view(picture: Picture, view: View) -> ViewScore:
    """Compare a picture with what the camera saw."""
    truth, mask = view.color.astype(np.float32) / 255, picture.mask
    both, known = mask & (view.depth > 0), view.depth > 0
    nan = float("nan")
    apart = np.abs(picture.depth - view.depth)[both].astype(np.float64)
    return ViewScore(
        psnr=float(psnr(picture.color, truth)),
        psnr_seen=float(psnr(picture.color, truth, mask)) if mask.mean() >= LEAST_SEEN else nan,
        ssim=float(ssim(picture.color, truth)) if min(known.shape) >= WINDOW else nan,
        depth_error=float(apart.mean()) if both.any() else nan,
        relative_error=float((apart / view.depth[both]).mean()) if both.any() else nan,
        whole_error=float(np.abs(picture.depth - view.depth)[known].mean()) if known.any() else nan,
        seen=float(both.sum() / known.sum()) if known.any() else nan,
    )


def perceptual_scores(
    pairs: Sequence[tuple[View, Picture]], network: Literal["alex", "squeeze", "vgg"]
) -> list[float]:
    """LPIPS of each picture beside its photograph, of all pixels; 0 is best.

    Raises:
        UserError: what it needs is missing; see `nonet.metrics.image_quality.perceptual_distance`.
    """
    return [
        perceptual_distance(picture.color, view.color.astype(np.float32) / 255, network)
        for view, picture in pairs
    ]


def check_perceptual(views: Sequence[View], network: Literal["alex", "squeeze", "vgg"]) -> None:
    """Find out whether LPIPS can be computed, before anything is drawn.

    Raises:
        UserError: a view is smaller than `LEAST`, or something that is needed is missing.
    """
    for view in views:
        height, width = view.depth.shape
        if min(height, width) < LEAST:
            raise UserError(
                f"view {view.name}: LPIPS needs {LEAST} x {LEAST} pixels and more, not {width} x {height}; "
                "lower shrink, or leave lpips out"
            )
    blank = np.zeros((LEAST, LEAST, 3), np.float32)
    perceptual_distance(blank, blank, network)


def mean_score(scores: list[ViewScore]) -> ViewScore:
    """The mean over images of each measure, over those that have it."""
    columns = np.array(scores, np.float64).reshape(-1, len(ViewScore._fields))
    have = np.isfinite(columns)
    sums = np.where(have, columns, 0).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return ViewScore(*np.where(have.any(0), sums / have.sum(0), np.nan).tolist())


def shrunk(view: View, factor: int) -> View:
    """A view of 1 / `factor` as many pixels each way.

    A pixel's colour is the mean of its block; its depth and label are those of the block's middle pixel,
    whose ray the new pixel's ray is.

    Raises:
        ValueError: the image is smaller than `factor`.
    """
    if factor == 1:
        return view
    height, width = (side // factor for side in view.depth.shape)
    if factor < 1 or not height * width:
        raise ValueError(f"an image of {view.depth.shape} cannot be shrunk by {factor}")
    blocks = view.color[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    middle = factor // 2
    pick = np.s_[middle : height * factor : factor, middle : width * factor : factor]
    scale = np.array([[1 / factor, 0, -middle / factor], [0, 1 / factor, -middle / factor], [0, 0, 1]])
    return View(
        view.name,
        blocks.mean((1, 3)).round().astype(np.uint8),
        view.depth[pick].copy(),
        None if view.label is None else view.label[pick].copy(),
        scale @ view.intrinsics,
        view.camera_to_world,
    )


def blank_view(
    name: str, intrinsics: NDArray[np.float64], pose: NDArray[np.float64], size: tuple[int, int]
) -> View:
    """A camera that has seen nothing yet: height and width in `size`."""
    color, depth = np.zeros((*size, 3), np.uint8), np.zeros(size, np.float32)
    return View(name, color, depth, None, np.asarray(intrinsics, float), np.asarray(pose, float))


def new_views(
    poses: list[tuple[str, NDArray[np.float64]]],
    given: SceneInput,
    intrinsics: tuple[float, float, float, float] | None,
    size: tuple[int, int] | None,
    shrink: int,
) -> list[View]:
    """Cameras at poses of the scene's own world, in the world of its sample.

    Args:
        poses: names and (4, 4) camera-to-world.
        given: the scene.
        intrinsics: fx, fy, cx, cy in pixels; None: those of its first view.
        size: width and height; None: those of its first view.
        shrink: pixels of the camera for one of the picture, along both sides.

    Raises:
        UserError: the scene has no view to take them from.
    """
    if (intrinsics is None or size is None) and not given.inputs:
        raise UserError(f"scene {given.name}: has no views; give intrinsics and size of the pictures")
    if intrinsics is None:
        K = given.inputs[0].intrinsics
    else:
        fx, fy, cx, cy = intrinsics
        K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
    height, width = given.inputs[0].depth.shape if size is None else size[::-1]
    return [
        shrunk(blank_view(name, K, given.sample.world @ pose, (height, width)), shrink)
        for name, pose in poses
    ]
