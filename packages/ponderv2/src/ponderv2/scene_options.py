"""What `reconstruct` and `render` have in common: a model, a scene, and how long to fit it. Source: ours."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class SceneOptions:
    """A model and a scene."""

    model: str
    """folder of a pre-trained model"""
    data: tuple[str, ...]
    """where the scene is: KIND:PATH[:SPLIT], such as 7scenes:office"""
    out: Path
    """what to write"""
    frame_step: int = 1
    """every so-many-th frame of folders of frames"""
    depth_scale: float | None = None
    """depth units in a metre, for folders of frames that do not say; 1000: millimetres"""
    up: str | None = None
    """where "up" is: x, -x, y, -y, z, -z, or level: as what lies flat says; none: as the data say"""
    normals: Literal["given", "estimate"] = "given"
    """estimate: find normals for clouds that have none"""
    scene: str | None = None
    """name of the scene, if the data have several"""
    views: int | None = None
    """views that go in at most, evenly spaced; none: all of them"""
    norms: str | None = None
    """whose norms to use, if the model has those of several data sets; none: the scene's own"""
    volume: tuple[int, int, int] | None = None
    """cells of the volume along x, y and z; none: as the model was trained"""
    steps: int = 0
    """steps of fitting this scene to its input views before it is drawn; 0: as the model sees it"""
    rays: int = 1024
    """rays in each of these steps"""
    rate: float = 1e-2
    """learning rate of these steps"""
    finer: int = 1
    """cells of the fitted volume for each of the model's, along every axis"""
    seed: int = 0
    """of the fit"""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto: the first GPU, else the CPU"""

    def __post_init__(self) -> None:
        if not self.data:
            raise UserError("data names no scene; give KIND:PATH[:SPLIT]")
        for name, least in (
            ("frame_step", 1),
            ("steps", 0),
            ("rays", 1),
            ("finer", 1),
            ("seed", 0),
            ("views", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"{name} is {value}; it is at least {least}")
        if self.depth_scale is not None and not self.depth_scale > 0:
            raise UserError(f"depth_scale is {self.depth_scale:g}; it is positive")
        if self.volume is not None and min(self.volume) < 2:
            raise UserError(f"volume is {' x '.join(map(str, self.volume))}; each side has at least 2 cells")
        if not self.rate > 0:
            raise UserError(f"rate is {self.rate:g}; it is above 0")
        if self.finer > 1 and not self.steps:
            raise UserError("a finer volume has to be fitted: give steps, or leave finer away")
