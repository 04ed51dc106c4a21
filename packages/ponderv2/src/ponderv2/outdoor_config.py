"""What an outdoor model is built from; `config.json` in its folder. Plain data."""

from dataclasses import dataclass, replace
from dataclasses import field as part
from typing import Any, Literal

from nonet.errors import UserError
from ponderv2.model_config import SIZES, Size, SpUNetConfig, from_dict, to_dict
from ponderv2.outdoor_options import OutdoorOptions

Modality = Literal["lidar", "camera"]
Head = Literal["centre", "queries"]
CHANNELS = 4
"""numbers of a LiDAR voxel: the mean x, y, z in metres and intensity of its points"""


@dataclass(frozen=True, kw_only=True)
class OutdoorConfig:
    """A model that is pre-trained on streets."""

    modality: Modality = "lidar"
    """what the backbone sees"""
    backbone: SpUNetConfig = part(default_factory=lambda: SpUNetConfig(in_channels=CHANNELS))
    """of the sparse U-Net, for LiDAR"""
    outdoor: OutdoorOptions = part(default_factory=OutdoorOptions)
    """range, volume, cameras, rays"""


@dataclass(frozen=True, kw_only=True)
class OutdoorDetectorConfig(OutdoorConfig):
    """A detector of boxes on streets."""

    head: Head = "centre"
    """centre: a map of centres seen from above; queries: one box a query, as UVTR has it"""
    classes: tuple[str, ...] = ()
    """names of the classes"""
    width: int = 128
    """channels of the head"""
    queries: int = 900
    """queries of the head `queries`"""
    layers: int = 6
    """layers of the head `queries`"""

    def __post_init__(self) -> None:
        if not self.classes:
            raise UserError("the detector has no classes to find")
        if min(self.width, self.queries, self.layers) < 1 or self.width % 8:
            raise UserError(
                f"head: width {self.width}, {self.queries} queries, {self.layers} layers; each is at least "
                "1, and the width a multiple of 8"
            )


def sized(modality: Modality, size: Size, outdoor: OutdoorOptions) -> dict[str, Any]:
    """The parts that both configs share: the backbone of a size, and the options without weights' sources.

    A model that was saved has its images' weights: a folder does not ask for the file they came from.
    """
    if size not in SIZES:
        raise UserError(f"no size {size}; there are {', '.join(SIZES)}")
    backbone = replace(SIZES[size].backbone, in_channels=CHANNELS, datasets=())
    return {"modality": modality, "backbone": backbone, "outdoor": outdoor}


def saved_dict(config: OutdoorConfig) -> dict[str, Any]:
    """The config as a model folder keeps it: one that sees by cameras has no sparse U-Net in it."""
    found = to_dict(replace(config, outdoor=replace(config.outdoor, image_weights=None)))
    return {name: value for name, value in found.items() if name != "backbone" or config.modality == "lidar"}


def read_config(kind: type[Any], values: Any, where: str) -> Any:
    """A config of a folder.

    Raises:
        UserError: an entry that there is not, or of another kind.
    """
    return from_dict(kind, values, where)
