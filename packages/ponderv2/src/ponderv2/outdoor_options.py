"""What is different about streets, as plain data, so that help loads no torch (UniPAD, Yang et al. 2024).

The defaults are those of the released code: a range of 108 x 108 x 8 m, a volume of 180 x 180 x 5 cells, 72 +
24 samples.
"""

from dataclasses import dataclass

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class OutdoorOptions:
    """Sizes, masks, rays and cameras of outdoor models."""

    low: tuple[float, float, float] = (-54.0, -54.0, -5.0)
    """least x, y, z of what is looked at, metres from the LiDAR"""
    high: tuple[float, float, float] = (54.0, 54.0, 3.0)
    """largest x, y, z, metres"""
    voxel: tuple[float, float, float] = (0.075, 0.075, 0.2)
    """edges of a LiDAR voxel, metres"""
    cells: tuple[int, int, int] = (180, 180, 5)
    """cells of the volume along x, y, z"""
    mask_ratio: float = 0.8
    """share of blocks of LiDAR voxels that are dropped in pre-training"""
    mask_block: int = 8
    """voxels along an edge of such a block"""
    rays: int = 512
    """rays of a sweep (lidar), or of each camera (camera)"""
    ray_near: float = 3.0
    """metres: nearer LiDAR points make no rays, as they lie on the car"""
    ray_far: float = 50.0
    """metres: farther LiDAR points make no rays"""
    pixel_step: int = 4
    """pixels between the rays that no LiDAR point is on"""
    sky: float = 0.4
    """upper share of an image that such rays leave out"""
    samples: int = 72
    """samples of a ray"""
    fine_samples: int = 24
    """samples added near the surface"""
    near: float = 0.54
    """metres from a ray's origin to its first sample, at least"""
    depth_weight: float = 10.0
    """weight of the depth loss"""
    color_weight: float = 10.0
    """weight of the colour loss; 0: depth alone"""
    sdf_weight: float = 0.0
    """weight of distances near the surface; 0 in the paper"""
    free_weight: float = 0.0
    """weight of distances before the surface; 0 in the paper"""
    eikonal_weight: float = 0.0
    """weight of slopes that are not 1; 0 in the paper"""
    truncation: float = 0.54
    """metres from the surface within which distances are compared"""
    volume_width: int = 32
    """channels of the volume that is rendered"""
    image_scale: float = 0.5
    """images are shrunk to so much of their edges"""
    image_backbone: str = "convnext_small"
    """ConvNeXt of timm, by its name there"""
    image_weights: str | None = None
    """its weights: `timm` downloads those of that name, and presets outdoor-camera say so; a .safetensors
    file; none: random"""
    frozen_stages: int = 1
    """stages of it that are not trained, the stem with the first"""
    image_rate: float = 0.1
    """factor of its learning rate in `pretrain`; `finetune det` has backbone_rate"""
    patch_ratio: float = 0.3
    """share of 32-pixel patches that are masked in pre-training"""
    pyramid_width: int = 128
    """channels of the feature pyramid, and of the volume that images are lifted into"""
    depth_bins: int = 64
    """bins of the predicted depth"""
    depth_bin: float = 1.0
    """metres of a bin"""

    def __post_init__(self) -> None:
        for axis, low, high, cells, voxel in zip(
            "xyz", self.low, self.high, self.cells, self.voxel, strict=True
        ):
            if not low < high:
                raise UserError(f"outdoor: low {low:g} m is not below high {high:g} m along {axis}")
            if cells < 1 or not voxel > 0:
                raise UserError(f"outdoor: {cells} cells, voxels of {voxel:g} m along {axis} are no volume")
        for name in ("mask_ratio", "patch_ratio", "sky"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"outdoor.{name} is {getattr(self, name):g}; it lies in [0, 1)")
        for name in ("mask_block", "rays", "pixel_step", "samples", "volume_width", "pyramid_width",
                     "depth_bins"):  # fmt: skip
            if getattr(self, name) < 1:
                raise UserError(f"outdoor.{name} is {getattr(self, name)}; it is at least 1")
        for name in (
            "fine_samples",
            "frozen_stages",
            "depth_weight",
            "color_weight",
            "sdf_weight",
            "free_weight",
            "eikonal_weight",
            "image_rate",
        ):
            if getattr(self, name) < 0:
                raise UserError(f"outdoor.{name} is {getattr(self, name):g}; it is 0 or more")
        if not 0 <= self.ray_near < self.ray_far:
            raise UserError(
                f"outdoor: ray_near {self.ray_near:g} m is not in 0 to ray_far, {self.ray_far:g} m"
            )
        if not (min(self.near, self.depth_bin, self.truncation) > 0 and 0 < self.image_scale <= 1):
            raise UserError(
                "outdoor: near, depth_bin and truncation are positive, image_scale lies in (0, 1]"
            )

    @property
    def unit(self) -> float:
        """Units of the renderer in a metre: half of the longer horizontal edge is 1, on all axes."""
        return 2.0 / max(self.high[0] - self.low[0], self.high[1] - self.low[1])
