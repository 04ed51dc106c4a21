"""What a reader of a data set is told besides where it lies (ours)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReadOptions:
    """How folders are read.

    Attributes:
        depth_scale: units of depth images a metre; None takes the data set's own.
        up: where the world's "up" is, such as `z` or `-y`; `level` finds it from what the views see; None
            takes the data set's own.
        frame_step: take every so many frames of a scene.
        spacing: metres of a cell that gets one point where a cloud is fused from views.
    """

    depth_scale: float | None = None
    up: str | None = None
    frame_step: int = 1
    spacing: float = 0.01


LEVEL = "level"
AXES: dict[str, tuple[float, float, float] | None] = {
    LEVEL: None,
    "x": (1.0, 0.0, 0.0),
    "-x": (-1.0, 0.0, 0.0),
    "y": (0.0, 1.0, 0.0),
    "-y": (0.0, -1.0, 0.0),
    "z": (0.0, 0.0, 1.0),
    "-z": (0.0, 0.0, -1.0),
}
"""the words for "up", with their vectors; None stands for one that is found"""
