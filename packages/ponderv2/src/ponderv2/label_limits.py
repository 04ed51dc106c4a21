"""Few labels: limited reconstructions and annotations, in the files of ScanNet's data-efficient benchmark.

Limited reconstructions (LR): a text file with the name of one scene a line; only these are trained on.
Limited annotations (LA): for each scene the numbers of its labelled points; all others count as not labelled,
in 2D, too, and no augmentation may drop a labelled point. How the paper chose its own is not known to us:
these are our definitions (the released code has both readers, and no configuration; its reader for 200
classes hides the labelled points and keeps the others).

Tasks of whole objects refuse LA: where most points of an object are hidden, neither its middle nor its
extent is known.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from ponderv2.scenes import IGNORED, PointCloud, Scene, SceneList, View
from ponderv2.torch_arrays import load_torch_arrays

Ints = NDArray[np.int64]


def read_scene_names(path: Path) -> tuple[str, ...]:
    """The scenes of a list file, one a line; empty lines and what follows a # are left out.

    Raises:
        UserError: no such file, not text, no name, or a name twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file; a scene list has one name a line") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    names = [name for line in lines if (name := line.partition("#")[0].strip())]
    if not names:
        raise UserError(f"{path}: no scene is named in it")
    for number, name in enumerate(names):
        if name in names[:number]:
            raise UserError(f"{path}: names {name} twice")
    return tuple(names)


def limit_scenes(scenes: SceneList, path: Path) -> SceneList:
    """The scenes that a list file names, in the data set's order.

    Raises:
        UserError: see `read_scene_names`; or a scene that the data set does not have.
    """
    names = read_scene_names(path)
    absent = sorted(set(names) - {scene.name for scene in scenes})
    if absent:
        held = ", ".join(scene.name for scene in list(scenes)[:3])
        raise UserError(
            f"{path}: {len(absent)} of {len(names)} scenes are not in the data: {', '.join(absent[:5])}; "
            f"the data have {held}, ..."
        )
    chosen = set(names)
    return scenes.of(scene for scene in scenes if scene.name in chosen)


def read_annotations(path: Path) -> dict[str, Ints]:
    """The numbers of the labelled points of each scene.

    Args:
        path: a torch file with a dictionary (the benchmark's `points20` and so on, with or without an
            ending), a JSON object of lists, a `.npz` with an array for each scene, or a folder with a
            SCENE.txt for each scene, one number a line.

    Raises:
        UserError: none of these, or numbers that are no point's.
    """
    if path.is_dir():
        found: Mapping[str, Any] = {file.stem: _lines(file) for file in sorted(path.glob("*.txt"))}
        if not found:
            raise UserError(f"{path}: no SCENE.txt in this folder")
    elif path.suffix == ".json":
        found = _json(path)
    elif path.suffix == ".npz":
        found = _npz(path)
    else:
        found = load_torch_arrays(path)
    if not isinstance(found, Mapping) or not found:
        raise UserError(f"{path}: holds no scenes: a dictionary from names to point numbers is expected")
    return {str(name): _numbers(path, str(name), value) for name, value in found.items()}


def limit_annotations(scenes: SceneList, path: Path) -> SceneList:
    """The scenes that have labelled points, each with these labels alone.

    Raises:
        UserError: see `read_annotations`; or none of the scenes is in the file.
    """
    points = read_annotations(path)
    chosen = [LimitedScene(scene, points[scene.name]) for scene in scenes if scene.name in points]
    if not chosen:
        raise UserError(
            f"{path}: has labelled points of {len(points)} scenes, such as {next(iter(points))}, and none is "
            f"in the data, which have {', '.join(scene.name for scene in list(scenes)[:3])}"
        )
    return scenes.of(chosen)


class LimitedScene(Scene):
    """A scene of which only some points are labelled; its images are not.

    The numbers name points of the whole cloud: it stays whole even where it is fused from views of which some
    are held out, and `fused` is False.

    Args:
        scene: the scene with all labels.
        labelled: (L,) numbers of its labelled points.
    """

    def __init__(self, scene: Scene, labelled: Ints) -> None:
        super().__init__(scene.name, scene.dataset, skipped=scene.skipped, remarks=scene.remarks)
        self.scene = scene
        self.up, self.classes = scene.up, scene.classes
        self.kept = np.unique(labelled)

    @property
    def checked(self) -> bool:
        """As the scene."""
        return self.scene.checked

    @property
    def view_names(self) -> tuple[str, ...]:
        """The scene's."""
        return self.scene.view_names

    def cloud(self) -> PointCloud:
        """The scene's cloud; the other points have label -1, and belong to no object.

        Raises:
            UserError: the cloud has no labels, or fewer points than a number says.
        """
        cloud = self.scene.cloud()
        if cloud.semantic is None:
            raise UserError(f"scene {self.name}: has no labels to limit")
        assert self.kept is not None
        if len(self.kept) and self.kept[-1] >= len(cloud):
            raise UserError(
                f"scene {self.name}: point {self.kept[-1]} is to be labelled, but the cloud has {len(cloud)} "
                "points: annotations of another version of the cloud?"
            )
        return replace(
            cloud, semantic=self._limited(cloud.semantic),
            instance=None if cloud.instance is None else self._limited(cloud.instance),
        )  # fmt: skip

    def view(self, index: int) -> View:
        """The scene's view without its label image."""
        return replace(self.scene.view(index), label=None)

    def _limited(self, labels: Ints) -> Ints:
        found = np.full_like(labels, IGNORED)
        found[self.kept] = labels[self.kept]
        return found


def _numbers(path: Path, scene: str, value: Any) -> Ints:
    array = np.asarray(value).reshape(-1)
    if array.size and array.dtype.kind not in "iu":
        raise UserError(f"{path}: scene {scene}: numbers of points are whole, not {array.dtype}")
    numbers = array.astype(np.int64)
    if len(numbers) and numbers.min() < 0:
        raise UserError(f"{path}: scene {scene}: {numbers.min()} is no number of a point")
    return numbers


def _lines(path: Path) -> list[int]:
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            try:
                found.append(int(line))
            except ValueError:
                raise UserError(f"{path}:{number}: not the number of a point: {line.strip()[:40]}") from None
    return found


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from None


def _npz(path: Path) -> dict[str, Any]:
    import zipfile

    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
