"""Poses to render at, from a file or a folder that a user wrote. Source: ours."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from ponderv2.cameras import pose_fault


def read_poses(path: Path) -> list[tuple[str, NDArray[np.float64]]]:
    """Camera-to-world poses with names.

    Args:
        path: a text file of 4 x 4 matrices below each other, 4 numbers a line; or of a trajectory, a line
            `time tx ty tz qx qy qz qw` a pose (TUM); or a folder of text files with a matrix each. What
            follows `#` is a comment.

    Raises:
        UserError: it is missing, holds something else, or a pose is not rigid.
    """
    if path.is_dir():
        files = sorted(
            each for each in path.iterdir() if each.suffix == ".txt" and "intrinsic" not in each.name
        )
        if not files:
            raise UserError(f"{path}: holds no text files with poses")
        found = []
        for file in files:
            poses = _in_file(file)
            if len(poses) != 1:
                raise UserError(f"{file}: has {len(poses)} poses; in a folder each file has one")
            found.append((file.name.removesuffix(".txt").removesuffix(".pose"), poses[0]))
        return found
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder of poses")
    return [(f"pose-{number:04d}", pose) for number, pose in enumerate(_in_file(path))]


def _in_file(path: Path) -> list[NDArray[np.float64]]:
    rows: list[list[float]] = []
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no text file") from error
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].replace(",", " ").split()
        try:
            rows += [[float(word) for word in words]] if words else []
        except ValueError as error:
            raise UserError(f"{path}:{number}: {line.strip()[:40]!r} is no row of numbers") from error
    widths = {len(row) for row in rows}
    if widths == {4} and len(rows) % 4 == 0:
        poses = list(np.array(rows).reshape(-1, 4, 4))
    elif widths == {8}:
        poses = [_of_quaternion(np.array(row), path, number) for number, row in enumerate(rows)]
    else:
        raise UserError(
            f"{path}: {len(rows)} rows of {sorted(widths)} numbers; poses are blocks of 4 rows of 4, "
            "or rows of 8: time tx ty tz qx qy qz qw"
        )
    for number, pose in enumerate(poses):
        if fault := pose_fault(pose):
            raise UserError(f"{path}: pose {number}: {fault}")
    return poses


def _of_quaternion(row: NDArray[np.float64], path: Path, number: int) -> NDArray[np.float64]:
    from scipy.spatial.transform import Rotation

    if not np.linalg.norm(row[4:]) > 1e-6:
        raise UserError(f"{path}: pose {number}: its quaternion is 0")
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat(row[4:]).as_matrix()
    pose[:3, 3] = row[1:4]
    return pose
