"""Drawing the rays of a step of pre-training: 5 views, 256 rays each, against the original's way.

The original builds the rays of all pixels and keeps a few; ours draws pixels first and builds their rays.
Both draw the same pixels here and give the same rays. Frames are 7-Scenes' where they are, made-up ones
elsewhere.
"""

from functools import partial
from typing import Any

import numpy as np
from benchmarks.data import data_folder
from benchmarks.harness import Row, save, table, versus
from benchmarks.ponderv2.plain_rays import plain_rays

from ponderv2.rays import Rays, draw_rays
from ponderv2.scenes import View

SEED = 0
VIEWS, RAYS = 5, 256


def main(*, tiny: bool = False) -> list[Row]:
    """A row for each kind of frame."""
    rows = []
    sources = {"320 x 240, made up": made_up(64, 48) if tiny else made_up(320, 240)}
    if not tiny and data_folder("rgbd-7scenes") is not None:
        sources["640 x 480, 7-Scenes"] = seven_scenes()
    count = 16 if tiny else RAYS
    for name, views in sources.items():
        timed: dict[str, Any] = {"rounds": 1, "min_seconds": 0} if tiny else {}
        rows.append(
            versus(
                f"{count} rays of each of {len(views)} views, {name}",
                partial(ours, views, count), partial(peers, views, count), same_rays,
                unit="rays", per_call=len(views) * count, **timed,
            )
        )  # fmt: skip
    print(table(rows))
    if not tiny:
        save("ponderv2", rows, table="rays", versions=("numpy",), data="7-Scenes; made-up rooms", seed=SEED)
    return rows


def made_up(width: int, height: int) -> list[View]:
    """Views of a made-up room."""
    from ponderv2.synthetic import make_room

    room = make_room(SEED, views=VIEWS, size=(width, height), points=100)
    return [room.view(number) for number in range(VIEWS)]


def seven_scenes() -> list[View]:
    """Frames of the real room."""
    from ponderv2.reading import open_scenes

    (scene,) = open_scenes([f"7scenes:{data_folder('rgbd-7scenes')}"])
    return [scene.view(number) for number in np.linspace(0, len(scene.view_names) - 1, VIEWS).astype(int)]


def ours(views: list[View], count: int) -> list[Rays]:
    """Pixels first."""
    generator = np.random.default_rng(SEED)
    return [draw_rays(view, count, generator) for view in views]


def peers(views: list[View], count: int) -> list[Rays]:
    """All rays first."""
    return plain_rays(views, count, np.random.default_rng(SEED))


def same_rays(ours: list[Rays], theirs: list[Rays]) -> bool | str:
    """Whether all columns agree to float32."""
    for one, other in zip(ours, theirs, strict=True):
        for name, a, b in zip(Rays._fields, one, other, strict=True):
            if not np.allclose(a, b, atol=1e-5):
                return f"{name} differs by {np.abs(a - b).max():.3g}"
    return True


if __name__ == "__main__":
    main()
