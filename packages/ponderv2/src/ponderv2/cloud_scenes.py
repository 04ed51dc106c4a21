"""Single point clouds as scenes: files of `point_files.ENDINGS`, or a folder of them (ours)."""

from pathlib import Path

from nonet.errors import UserError
from ponderv2.frame_files import check_labels
from ponderv2.point_files import ENDINGS, read_cloud
from ponderv2.read_options import AXES, ReadOptions
from ponderv2.rgbd_folders import read_names
from ponderv2.scenes import UP, PointCloud, Scene, SceneList, View

DATASET = "cloud"


class CloudScene(Scene):
    """A point cloud without views.

    Args:
        file: the cloud.
        classes: names of its class numbers; None takes labels as they are.
        up: of its world.
    """

    def __init__(
        self, file: Path, *, classes: tuple[str, ...] | None, up: tuple[float, float, float]
    ) -> None:
        super().__init__(file.stem, DATASET)
        self.file, self.classes, self.up = file, classes, up

    @property
    def view_names(self) -> tuple[str, ...]:
        """None."""
        return ()

    def cloud(self) -> PointCloud:
        """Read anew each time."""
        cloud = read_cloud(self.file)
        if self.classes is not None and cloud.semantic is not None:
            check_labels(cloud.semantic, self.classes, str(self.file))
        return cloud

    def view(self, index: int) -> View:
        """There is none."""
        raise UserError(f"{self.file}: a point cloud has no views")


def open_clouds(path: Path, split: str | None, options: ReadOptions) -> SceneList:
    """The clouds of a folder, or one file. `classes.txt` beside them has the names of their labels, one a
    line.

    Args:
        path: a file, or a folder of files.
        split: a folder below; None takes the files of the folder itself, or of all folders below if it has
            none.
        options: how to read; only `up` matters.

    Raises:
        UserError: no cloud there; several files of one name; labels without names.
    """
    base = path if split is None else path / split
    if base.is_file():
        files = [base]
    else:
        files = _clouds(base, "*") or _clouds(base, "*/*")
    if not files:
        wanted = ", ".join(ENDINGS)
        raise UserError(
            f"{base}: " + (f"no cloud here ({wanted})" if base.is_dir() else "no such file or folder")
        )
    names = [file.stem for file in files]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{base}: {twice[0]} comes in several files")
    places = [files[0].parent, base.parent, path]
    given = next((file for place in places if (file := place / "classes.txt").is_file()), None)
    classes = None if given is None else read_names(given)
    up = UP if options.up is None else AXES[options.up]
    if up is None:
        raise UserError(
            f"{base}: a cloud without cameras does not say where up is; give --up z, -y or the like"
        )
    scenes = [CloudScene(file, classes=classes, up=up) for file in files]
    return SceneList(scenes, class_names={DATASET: classes} if classes else {})


def _clouds(base: Path, pattern: str) -> list[Path]:
    return sorted(
        file
        for file in base.glob(pattern)
        if file.suffix.lower() in ENDINGS and not file.name.startswith(".")
    )
