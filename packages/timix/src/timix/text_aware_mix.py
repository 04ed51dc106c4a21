"""Mixing images where their texts say so (Jiang et al. 2024, TiMix): the square of one image that matters
most to its text goes over the square of another that matters least to its own.

With scores s of N patches, R(u, v) the sum of s over the k x k window at (u, v), and partner j of image i:

    paste = argmin R_i,  cut = argmax R_j,  mixed_i = x_i with its window `paste` replaced by x_j's `cut`

and lam_i = 1 - k^2 / N is the share of image i (the paper's letter is the share of the other one). A plan
says what goes where and touches no image, so that pixels, embeddings of patches, labels, pictures for the eye
and other processes have it from one source. The released code divides scores by their deviation first; that
changes no argmin, and gives NaN for equal scores, so it is left out.

The same interface has the plain relatives: windows at random places (CutMix, Yun et al. 2019, by whole
patches), whole images weighted (mixup, Zhang et al. 2018), and MixGen (Hao et al. 2023), which averages
images and joins their captions.
"""

import math
import warnings
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from nonet.errors import RunFailed, UserError
from nonet.kernels.window_mix import Windows, paste_pixels, paste_tokens, window_search
from timix.windows import Ints, Partner, partners, random_places, side_range

# Shapes: B images, M mixed ones (B, or those that `only` keeps), Gh x Gw = N patches, d width of a token.

Region = Literal["maxmin", "aligned", "random", "cutmix", "mixup", "mixgen"]

BAD_SHARE = 0.01  # of scores that may be NaN or infinite
CHECKED_EACH = 50  # plans on another device than the CPU between looks at its count: a look waits for it
MIXUP_ALPHA = 1.0  # of the Beta distribution that mixup's weights come from


@dataclass(frozen=True)
class MixPlan:
    """What is mixed with what. All tensors lie on the device of the scores."""

    paste_yx: Tensor
    """(M, 2) int64: upper left patch (y, x) of the window that is replaced"""
    cut_yx: Tensor
    """(M, 2) int64: upper left patch of the partner's window that replaces it"""
    k: Tensor
    """(M,) int64: side of both windows in patches; 0 where no window is pasted"""
    partner: Tensor
    """(M,) int64 in 0..B-1: whose window it is; no two have the same one"""
    lam: Tensor
    """(M,) float32 in 0..1: share of the image itself; the partner has the rest"""
    rows: Tensor
    """(M,) int64 in 0..B-1: which images are mixed"""
    batch: int
    """B, the images that the plan was made for"""
    grid: tuple[int, int]
    """height and width of an image in patches"""
    kind: Literal["windows", "blend", "joined"] = "windows"
    """windows are pasted; whole images are weighted; or they are, and texts are joined (MixGen)"""

    def only(self, rows: Tensor) -> "MixPlan":
        """The plan for some of the images: `rows` (m,) int64, numbers among these M."""
        rows = rows.to(self.rows.device)
        parts = ("paste_yx", "cut_yx", "k", "partner", "lam", "rows")
        return replace(self, **{part: getattr(self, part)[rows] for part in parts})

    def fill(self, features: Tensor, mixed: Tensor) -> Tensor:
        """Features (B, ...) of all images with those of the mixed ones (M, ...) in their places."""
        return features.index_copy(0, self.rows, mixed.to(features.dtype))

    def windows(self, patch: int = 1) -> Windows:
        """The windows as the kernel takes them, in units of 1 / `patch` patches."""
        return Windows(self.rows, self.partner, self.paste_yx * patch, self.cut_yx * patch, self.k * patch)


class TextAwareMix:
    """Plans mixed images from scores of their patches, and makes them.

    Args:
        grid: patches along a side of an image, or height and width.
        r_min: least side of a square, as a share of the grid's shorter side.
        r_max: greatest side, below 1.
        partner: flip, image i with B - 1 - i (a random derangement if B is odd); roll, with i + 1; or
            derange.
        region: maxmin, as above; aligned, pasted where it was cut; random, both places at random; cutmix,
            one random place for both; mixup, whole images with a weight from Beta(1, 1) each; mixgen, the
            mean of both images, and their texts joined.
        per_sample_k: give each image a side of its own, not one to a batch.
        clamp: move sides that do not fit into 1 .. shorter side - 1, rather than refuse them.

    Raises:
        UserError: sizes do not fit, or there is no such partner or region.

    Example:
        >>> mix = TextAwareMix(16)
        >>> plan = mix.plan(scores, torch.Generator().manual_seed(step))
        >>> mixed = mix.pixels(images, plan)
    """

    def __init__(
        self,
        grid: int | tuple[int, int],
        r_min: float = 0.35,
        r_max: float = 0.75,
        *,
        partner: Partner = "flip",
        region: Region = "maxmin",
        per_sample_k: bool = False,
        clamp: bool = False,
    ) -> None:
        if region not in get_args(Region):
            raise UserError(f"region {region}: say {', '.join(get_args(Region))}")
        if partner not in get_args(Partner):
            raise UserError(f"partner {partner}: say {', '.join(get_args(Partner))}")
        self.grid = (grid, grid) if isinstance(grid, int) else (int(grid[0]), int(grid[1]))
        self.sides = side_range(self.grid, r_min, r_max, clamp=clamp)
        self.partner: Partner = partner
        self.region: Region = region
        self.per_sample_k = per_sample_k
        self.bad_scores = 0
        """scores that were NaN or infinite so far, as far as was looked (`look`)"""
        self._bad: Tensor | None = None
        self._warned = False
        self._seen, self._plans = 0, 0

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def plan(self, scores: Tensor, generator: torch.Generator | np.random.Generator) -> MixPlan:
        """What is mixed with what in a batch.

        Args:
            scores: (B, Gh, Gw) float, more for what matters to the image's own text, on any scale. NaN and
                infinity count as 0. Regions at random look at the shape only.
            generator: on the CPU: a function of seed and step, and the same one on every rank, so that all
                have the same sides. It gives one number.

        Returns:
            The plan. A batch of one image is not mixed: its k is 0, its lam 1, and a warning says so once.

        Raises:
            UserError: the scores' shape is not the grid's.
            RunFailed: more than 1 % of the scores are NaN or infinite.
        """
        if scores.ndim != 3 or tuple(scores.shape[1:]) != self.grid:
            raise UserError(
                f"scores of shape {tuple(scores.shape)} are not those of {self.grid[0]} x {self.grid[1]} "
                "patches"
            )
        count, device = len(scores), scores.device
        if count < 2:
            if count and not self._warned:
                self._warned = True
                warnings.warn("a batch of one image is not mixed: there is no partner", stacklevel=3)
            return self._nothing(count, device)
        random = _numpy_generator(generator)
        sides = random.integers(self.sides[0], self.sides[1] + 1, count if self.per_sample_k else 1)
        sides = np.broadcast_to(sides, count).astype(np.int64)
        pairs = partners(count, self.partner, random)
        rows, partner = torch.arange(count, device=device), torch.from_numpy(pairs).to(device)
        if self.region in ("mixup", "mixgen"):
            weights = (
                random.beta(MIXUP_ALPHA, MIXUP_ALPHA, count)
                if self.region == "mixup"
                else np.full(count, 0.5)
            )
            none, lam = rows.new_zeros((count, 2)), torch.from_numpy(weights).float().to(device)
            kind: Literal["blend", "joined"] = "blend" if self.region == "mixup" else "joined"
            return MixPlan(none, none, none[:, 0], partner, lam, rows, count, self.grid, kind)
        paste, cut = self._places(scores, sides, rows, partner, random)
        k = torch.from_numpy(sides)
        lam = 1 - k.square() / math.prod(self.grid)
        return MixPlan(paste, cut, k.to(device), partner, lam.to(device), rows, count, self.grid)

    def look(self) -> int:
        """How many scores were NaN or infinite so far. On a GPU this waits; on the CPU it is up to date.

        Raises:
            RunFailed: more than 1 % of those since the last look are.
        """
        if self._bad is not None:
            found, seen = int(self._bad), self._seen
            self._bad, self._seen, self._plans = None, 0, 0
            self.bad_scores += found
            if found > BAD_SHARE * seen:
                raise RunFailed(
                    f"{found} of {seen} patch scores are NaN or infinite: a scorer in float16 overflows; "
                    "take bfloat16, or another score"
                )
        return self.bad_scores

    def pixels(self, images: Tensor, plan: MixPlan) -> Tensor:
        """The mixed images.

        Args:
            images: (B, C, H, W), normalised already if they are to be; floats if whole images are weighted.
            plan: of this batch.

        Returns:
            (M, C, H, W).

        Raises:
            UserError: the images are not of whole square patches, or not of the plan's number.
        """
        (high, wide), (height, width) = self.grid, images.shape[-2:]
        for name, size, patches in (("high", height, high), ("wide", width, wide)):
            if size % patches or not size:
                lower = size // patches * patches
                sizes = f"{lower} or {lower + patches}" if lower else f"{patches}"
                raise UserError(
                    f"images {size} pixels {name} have no {patches} equal patches: {sizes} would do"
                )
        patch = height // high
        if width // wide != patch:
            raise UserError(
                f"{height} x {width} pixels in {high} x {wide} patches make them {patch} x {width // wide}: "
                "patches must be square, so give the grid as (height, width)"
            )
        self._check(images, plan)
        if plan.kind == "windows":
            return paste_pixels(images, plan.windows(patch))
        return _blend(images, plan)

    def tokens(self, patch_embeddings: Tensor, plan: MixPlan) -> Tensor:
        """The embeddings of the mixed images' patches: for windows the same bits as from mixed pixels.

        Args:
            patch_embeddings: (B, N, d), before positions are added and without class token. A gradient
                passes.
            plan: of this batch.

        Returns:
            (M, N, d).

        Raises:
            UserError: N is not the grid's, or B not the plan's.
        """
        if patch_embeddings.ndim != 3 or patch_embeddings.shape[1] != math.prod(self.grid):
            raise UserError(
                f"embeddings of shape {tuple(patch_embeddings.shape)} are not those of {self.grid[0]} x "
                f"{self.grid[1]} patches: leave class tokens out"
            )
        self._check(patch_embeddings, plan)
        if plan.kind == "windows":
            return paste_tokens(patch_embeddings, plan.windows(), self.grid)
        return _blend(patch_embeddings, plan)

    def _check(self, images: Tensor, plan: MixPlan) -> None:
        if plan.grid != self.grid or plan.batch != len(images):
            raise UserError(
                f"the plan is for {plan.batch} images of {plan.grid[0]} x {plan.grid[1]} patches, and these "
                f"are {len(images)} of {self.grid[0]} x {self.grid[1]}"
            )

    def _nothing(self, count: int, device: torch.device) -> MixPlan:
        rows = torch.arange(count, device=device)
        none = rows.new_zeros((count, 2))
        lam = torch.ones(count, device=device)
        return MixPlan(none, none, none[:, 0], rows, lam, rows, count, self.grid)

    def _places(
        self, scores: Tensor, sides: Ints, rows: Tensor, partner: Tensor, random: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Where to paste, and where to cut."""
        if self.region in ("random", "cutmix"):
            paste = random_places(self.grid, sides, random)
            cut = paste if self.region == "cutmix" else random_places(self.grid, sides, random)
            return torch.from_numpy(paste).to(rows.device), torch.from_numpy(cut).to(rows.device)
        finite = scores.isfinite()
        self._count(~finite)
        sound = torch.where(finite, scores, 0)
        paste, cut = window_search(sound, torch.from_numpy(sides), rows, partner)
        return (cut, cut) if self.region == "aligned" else (paste, cut)

    def _count(self, bad: Tensor) -> None:
        total = bad.sum()
        self._bad = total if self._bad is None else self._bad + total
        self._seen += bad.numel()
        self._plans += 1
        if bad.is_cpu or self._plans >= CHECKED_EACH:
            self.look()


def _blend(images: Tensor, plan: MixPlan) -> Tensor:
    if not images.is_floating_point():
        raise UserError(f"images of {images.dtype} cannot be weighted: give floats")
    lam = plan.lam.to(images.dtype).view(-1, *[1] * (images.ndim - 1))
    return torch.lerp(images[plan.partner], images[plan.rows], lam)


def _numpy_generator(generator: torch.Generator | np.random.Generator) -> np.random.Generator:
    if isinstance(generator, torch.Generator):
        return np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=generator)))
    return np.random.default_rng(int(generator.integers(2**63 - 1)))
