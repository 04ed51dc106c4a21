"""Files of poses."""

import numpy as np
import pytest

from nonet.errors import UserError
from ponderv2.pose_files import read_poses

QUARTER = np.array([[0.0, -1, 0, 3], [1, 0, 0, 4], [0, 0, 1, 5], [0, 0, 0, 1]])  # 90 degrees about z


def test_matrices_below_each_other(tmp_path):
    path = tmp_path / "poses.txt"
    path.write_text(
        "# mine\n1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n\n0, -1, 0, 3\n1 0 0 4\n0 0 1 5 # z\n0 0 0 1\n"
    )
    (first, one), (second, two) = read_poses(path)
    assert (first, second) == ("pose-0000", "pose-0001")
    assert np.array_equal(one, np.eye(4))
    assert np.array_equal(two, QUARTER)


def test_a_trajectory_of_tum(tmp_path):
    path = tmp_path / "groundtruth.txt"
    half = np.sqrt(0.5)
    path.write_text(f"# timestamp tx ty tz qx qy qz qw\n1305.5 3 4 5 0 0 {half} {half}\n")
    ((_, pose),) = read_poses(path)
    assert np.allclose(pose, QUARTER)


def test_a_folder_of_matrices_is_read_in_the_order_of_names(tmp_path):
    np.savetxt(tmp_path / "frame-2.pose.txt", QUARTER)
    np.savetxt(tmp_path / "frame-1.pose.txt", np.eye(4))
    np.savetxt(tmp_path / "camera-intrinsics.txt", np.eye(3))
    found = read_poses(tmp_path)
    assert [name for name, _ in found] == ["frame-1", "frame-2"]
    assert np.allclose(found[1][1], QUARTER)


@pytest.mark.parametrize(("text", "words"), [
    ("1 2 3\n4 5 6\n", r"2 rows of \[3\] numbers"),
    ("1 0 0 0\n0 1 0 0\n", r"2 rows of \[4\] numbers"),
    ("1 0 0 0\n0 1 0 zero\n", r"poses\.txt:2: '0 1 0 zero' is no row"),
    ("2 0 0 0\n0 2 0 0\n0 0 2 0\n0 0 0 1\n", "pose 0: pose not rigid"),
    ("0 1 2 3 0 0 0 0\n", "pose 0: its quaternion is 0"),
    ("", "0 rows"),
])  # fmt: skip
def test_other_files_are_refused(text, words, tmp_path):
    (tmp_path / "poses.txt").write_text(text)
    with pytest.raises(UserError, match=words):
        read_poses(tmp_path / "poses.txt")


def test_missing_files_and_folders_without_poses_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_poses(tmp_path / "absent.txt")
    with pytest.raises(UserError, match="holds no text files"):
        read_poses(tmp_path)
    np.savetxt(tmp_path / "both.txt", np.concatenate([np.eye(4), np.eye(4)]))
    with pytest.raises(UserError, match="has 2 poses"):
        read_poses(tmp_path)
