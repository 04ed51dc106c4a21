"""The verb `prepare`: check a data set, and pack it for fast reading."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Read every scene and view of a data set, say what is left out and why, which units and labels it has,
    and pack it into a folder that is read faster. The data set stays as it is."""

    data: tuple[str, ...]
    """scenes, KIND:PATH or KIND:PATH:SPLIT"""
    out: Path | None = None
    """folder to pack into, then `packed:FOLDER` for all verbs; none: only check"""
    image_side: int = 320
    """pixels of an image's longer side at most; images are shrunk by whole numbers; 0: they stay as they
    are"""
    frame_step: int = 1
    """every so-many-th frame of folders of frames"""
    view_step: int = 1
    """every so-many-th of the views that are left"""
    hold_out: int = 10
    """every so-many-th packed view will be held out in pre-training: a cloud that is fused from views is also
    packed without them"""
    depth_scale: float | None = None
    """depth units in a metre, for folders of frames that do not say; 1000: millimetres"""
    up: str | None = None
    """where the world's "up" is: x, -x, y, -y, z or -z; none: as the data set has it"""
    normals: Literal["given", "estimate"] = "given"
    """estimate: clouds without normals are packed with those of their neighbourhoods"""
    skip_broken: bool = False
    """leave scenes out that cannot be used, rather than end"""
    json: bool = False
    """print JSON"""

    def __post_init__(self) -> None:
        if not self.data:
            raise UserError("data names no scenes: give KIND:PATH or KIND:PATH:SPLIT")
        if min(self.frame_step, self.view_step) < 1 or self.image_side < 0:
            raise UserError("frame_step and view_step are at least 1, image_side is 0 or more")
        if self.hold_out < 0 or self.hold_out == 1:
            raise UserError(f"hold_out is {self.hold_out}; it is 0, or from 2")


def run(options: Options) -> int:
    """Check, pack, and print the account."""
    from ponderv2.preparing import lines, prepare

    told = prepare(options)
    if options.json:
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return 0
    print("\n".join([*lines(told), *([] if options.out is None else [str(options.out)])]))
    return 0
