"""What a model of PonderV2 is made of: plain data, so that options and help load no torch.

`paper` has the sizes of the released indoor configurations (Zhu et al. 2023, PonderV2), `small` fits one GPU,
`tiny` trains on two cores; the last two are ours, and so is the occupancy channel.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as part
from typing import Any, Literal

from nonet.errors import UserError

Size = Literal["paper", "small", "tiny"]


def _positive(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not all(each > 0 for each in (value if isinstance(value, tuple) else (value,))):
            raise UserError(f"{name} is {value}; it is above 0")


def _names(datasets: tuple[str, ...]) -> None:
    if len(set(datasets)) != len(datasets):
        raise UserError(f"data sets {', '.join(datasets)}: a name stands twice")
    for name in datasets:
        if not name or "." in name:
            raise UserError(f"{name!r} cannot name a data set: give a word without a dot")


@dataclass(frozen=True, kw_only=True)
class SpUNetConfig:
    """The sparse U-Net that fine-tuning keeps."""

    in_channels: int = 6
    """numbers of a voxel: colour and normal are 6, colour alone 3"""
    stem: int = 32
    """channels of the first convolution, 5 x 5 x 5"""
    channels: tuple[int, ...] = (32, 64, 128, 256, 256, 128, 96, 96)
    """channels of each stage: half of them going down, half of them going up"""
    blocks: tuple[int, ...] = (2, 3, 4, 6, 2, 2, 2, 2)
    """residual blocks of each stage"""
    datasets: tuple[str, ...] = ()
    """names of the data sets that have norms of their own (point prompt training); none: one norm for all"""
    context: int = 256
    """numbers that say which data set it is, where there are several"""
    momentum: float = 0.01
    """share of a batch in the norms' running statistics; more for trainings of a few hundred steps, after
    which 0.01 would leave much of the initial ones in evaluation"""

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.blocks) or len(self.channels) % 2 or not self.channels:
            raise UserError(
                f"{len(self.channels)} numbers of channels and {len(self.blocks)} of blocks; "
                "there are as many of the one as of the other, half of them going down, half of them up"
            )
        _positive(self, "in_channels", "stem", "channels", "blocks", "context", "momentum")
        _names(self.datasets)

    @property
    def width(self) -> int:
        """Channels of what comes out."""
        return self.channels[-1]


@dataclass(frozen=True, kw_only=True)
class VolumeConfig:
    """The dense volume that sparse features are pooled into, and the U-Net that fills it."""

    shape: tuple[int, int, int] = (128, 128, 32)
    """cells along x, y and z; each of them a cell for each side of the cube, so z may do with fewer"""
    padding: float = 0.1
    """how much larger than the cloud's unit cube the volume is, as a share of it"""
    widths: tuple[int, ...] = (32, 64, 128, 256)
    """channels of the dense U-Net, from fine to coarse"""
    out: int = 128
    """channels of the volume; half of them are for geometry, half for appearance, unless they are shared"""
    occupancy: bool = False
    """one channel more that says which cells hold a voxel"""
    legacy: bool = False
    """pool, sample and draw as the released code does, with its two errors of coordinates"""

    def __post_init__(self) -> None:
        _positive(self, "shape", "widths", "out")
        if len(self.shape) != 3:
            raise UserError(f"the volume has {len(self.shape)} sides; give cells along x, y and z")
        least = 2 ** (len(self.widths) - 1)
        if min(self.shape) < 2 * least:
            sides = " x ".join(map(str, self.shape))
            raise UserError(
                f"a volume of {sides} cells cannot be halved {len(self.widths) - 1} times; each side has at "
                f"least {2 * least} cells, or give fewer widths"
            )
        if not 0 <= self.padding < 1:
            raise UserError(f"padding is {self.padding:g}; it lies in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class FieldConfig:
    """The perceptrons that read signed distance, colour and meaning off the volume."""

    hidden: int = 128
    """units of a layer"""
    geometry: int = 64
    """numbers that the perceptron of distances hands on to the others"""
    sdf_layers: int = 2
    """layers of distances"""
    color_layers: int = 1
    """layers of colours"""
    semantic: int = 0
    """numbers of a class's text vector (512 of CLIP ViT-B/16); 0: no perceptron of meaning"""
    semantic_layers: int = 1
    """layers of meaning"""
    position: float = 0.0
    """factor of a point's own coordinates, which enter beside its features; 0 indoors, 1 outdoors"""
    shared: bool = False
    """use all channels of the volume for both geometry and appearance, as outdoors"""

    def __post_init__(self) -> None:
        _positive(self, "hidden", "geometry", "sdf_layers", "color_layers", "semantic_layers")
        if self.semantic < 0:
            raise UserError(f"semantic is {self.semantic}; it is the length of a text vector, or 0")


@dataclass(frozen=True, kw_only=True)
class RendererConfig:
    """Where a ray is looked at, and how sharp a surface is."""

    samples: int = 96
    """places on a ray, drawn evenly"""
    importance: int = 36
    """places added near the surface"""
    steps: int = 1
    """in how many steps they are added"""
    near: float = 0.01
    """nearest place on a ray, in sides of the cube"""
    jitter: Literal["sample", "ray"] = "sample"
    """what is shaken in training: each place alone, or all of a ray alike (UniPAD)"""
    sharpness: float = 0.3
    """v at the beginning: a surface's sharpness is k = exp(10 v), so exp(3) = 20.09"""

    def __post_init__(self) -> None:
        _positive(self, "samples", "steps", "near")
        if self.samples < 2 or self.importance < 0 or self.importance % self.steps:
            raise UserError(
                f"{self.samples} samples and {self.importance} more in {self.steps} steps: there are at "
                "least 2 samples, and the others share evenly in the steps"
            )


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the losses of rendering; 0 leaves one out. Lengths are in sides of the cube."""

    depth: float = 1.0
    """of the depth of a ray"""
    color: float = 10.0
    """of its colour"""
    sdf: float = 10.0
    """of distances near the surface"""
    free: float = 1.0
    """of distances before it"""
    eikonal: float = 0.01
    """of gradients that are not 1 long"""
    semantic: float = 0.1
    """of the text vector, where there are labels"""
    truncation: float = 0.05
    """how far from the surface distances are still compared with depth; 0.4 m in a room of 8 m"""
    temperature: float = 0.01
    """what likeness to text vectors is divided by"""

    def __post_init__(self) -> None:
        _positive(self, "truncation", "temperature")
        for entry in ("depth", "color", "sdf", "free", "eikonal", "semantic"):
            if getattr(self, entry) < 0:
                raise UserError(f"the weight of {entry} is {getattr(self, entry):g}; it is at least 0")


@dataclass(frozen=True, kw_only=True)
class PonderConfig:
    """Everything that is trained together; `config.json` in a model folder."""

    backbone: SpUNetConfig = part(default_factory=SpUNetConfig)
    """of the sparse U-Net"""
    volume: VolumeConfig = part(default_factory=VolumeConfig)
    """of the dense volume"""
    field: FieldConfig = part(default_factory=FieldConfig)
    """of the field"""
    renderer: RendererConfig = part(default_factory=RendererConfig)
    """of rendering"""
    losses: LossConfig = part(default_factory=LossConfig)
    """of the losses"""


SIZES: dict[Size, PonderConfig] = {
    "paper": PonderConfig(),
    "small": PonderConfig(
        backbone=SpUNetConfig(channels=(32, 64, 96, 128, 128, 96, 64, 64), blocks=(1, 1, 2, 2, 1, 1, 1, 1)),
        volume=VolumeConfig(shape=(80, 80, 40), widths=(32, 64, 96), out=64, occupancy=True),
        field=FieldConfig(hidden=64, geometry=32),
        renderer=RendererConfig(samples=64, importance=32),
    ),
    "tiny": PonderConfig(
        backbone=SpUNetConfig(
            stem=16, channels=(16, 32, 48, 48, 32, 32), blocks=(1, 1, 1, 1, 1, 1), context=32, momentum=0.1
        ),
        volume=VolumeConfig(shape=(32, 32, 32), widths=(16, 32, 48), out=32, occupancy=True),
        field=FieldConfig(hidden=32, geometry=16),
        renderer=RendererConfig(samples=32, importance=16),
    ),
}
"""sizes by name"""


def size(
    name: Size, *, in_channels: int = 6, datasets: tuple[str, ...] = (), semantic: int = 0
) -> PonderConfig:
    """A size with what the data decide.

    Args:
        name: of `SIZES`.
        in_channels: numbers of a voxel.
        datasets: names of data sets with norms of their own; none: one norm for all.
        semantic: length of a text vector; 0: nothing is learned from labels.

    Raises:
        UserError: there is no such size.
    """
    if name not in SIZES:
        raise UserError(f"no size {name}; there are {', '.join(SIZES)}")
    found = SIZES[name]
    backbone = dataclasses.replace(found.backbone, in_channels=in_channels, datasets=tuple(datasets))
    return dataclasses.replace(
        found, backbone=backbone, field=dataclasses.replace(found.field, semantic=semantic)
    )


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain values, for JSON."""
    return dataclasses.asdict(config)


def from_dict(kind: type, values: Mapping[str, Any], where: str) -> Any:
    """A config from plain values.

    Args:
        kind: PonderConfig, SpUNetConfig, or another one of this file.
        values: as of `to_dict`; what is absent keeps its default.
        where: for the error.

    Raises:
        UserError: an entry that there is not, or of another kind.
    """
    from nonet.conversion import Mismatch, convert

    known = {entry.name: entry for entry in dataclasses.fields(kind)}
    if not isinstance(values, Mapping) or set(values) - set(known):
        odd = sorted(set(values) - set(known)) if isinstance(values, Mapping) else values
        raise UserError(f"{where}: {kind.__name__} knows no {odd}; it has {', '.join(known)}")
    found = {}
    for name, value in values.items():
        inner = known[name].type
        place = f"{where}: {name}"
        try:
            nested = isinstance(inner, type) and dataclasses.is_dataclass(inner)
            found[name] = from_dict(inner, value, place) if nested else convert(value, inner)  # type: ignore[arg-type]
        except Mismatch as error:
            raise UserError(f"{place}: {error}") from error
    return kind(**found)
