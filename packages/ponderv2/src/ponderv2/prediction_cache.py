"""Labels of scenes that were voted before, kept in files and used again for the same model only (ours).

The released tester takes any file with the scene's name, hence answers of an older checkpoint. Here a file
knows what it was made by: weights, configuration, variants, data set, level and the points themselves.
"""

import hashlib
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from nonet.files import replacing
from ponderv2.scenes import Scene


class PredictionCache:
    """A folder of labels, one file for each scene.

    Args:
        folder: made when something is kept; None: nothing is kept.
        maker: what made the labels: the model's key and the protocol.
    """

    def __init__(self, folder: Path | None, maker: str) -> None:
        if folder is not None and folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: is a file, not a folder for predictions")
        self.folder, self.maker = folder, maker
        self.used, self.stale = 0, 0

    def read(self, scene: Scene) -> NDArray[np.int64] | None:
        """(N,) labels of the scene, if they are there and were made by the same of the same points.

        A file that cannot be read, or was made otherwise, counts as stale and is written anew.
        """
        path = self._path(scene)
        if path is None or not path.is_file():
            return None
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as kept:
                key, labels = str(kept["key"]), kept["labels"].astype(np.int64)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            key, labels = "", np.zeros(0, np.int64)
        if key != self._key(scene):
            self.stale += 1
            return None
        self.used += 1
        return labels

    def write(self, scene: Scene, labels: NDArray[np.int64]) -> None:
        """Keep the (N,) labels of a scene, at once or not at all."""
        path = self._path(scene)
        if path is not None:
            with replacing(path) as part, open(part, "wb") as file:
                np.savez_compressed(file, labels=labels.astype(np.int32), key=self._key(scene))

    def _path(self, scene: Scene) -> Path | None:
        if self.folder is None:
            return None
        return self.folder / f"{file_name(scene.dataset)}-{file_name(scene.name)}.npz"

    def _key(self, scene: Scene) -> str:
        cloud = scene.cloud()
        # norms and heads go by the data set, and voxels and turns by the level
        digest = hashlib.sha256(repr((self.maker, scene.dataset, tuple(map(float, scene.up)))).encode())
        for name in ("coord", "color", "normal", "strength"):
            values: Any = getattr(cloud, name)
            digest.update(name.encode() if values is None else np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()


def file_name(name: str) -> str:
    """A scene's name as a file's: what is no letter, digit, dot, dash or underscore becomes an underscore."""
    return re.sub(r"[^\w.-]", "_", name).lstrip(".") or "_"
