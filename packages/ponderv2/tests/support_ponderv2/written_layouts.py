"""Made-up rooms written as every layout, and one's own folder of frames to spoil."""

import numpy as np

from ponderv2.synthetic import CLASSES, make_rooms
from ponderv2.synthetic_layouts import write_image, write_matrix, write_rooms, write_views

ROOM_KINDS = ("rgbd", "7scenes", "tum", "scannet", "s3dis", "structured3d", "cloud", "tabletop")


def six_rooms():
    """Small ones with four views."""
    return make_rooms(6, seed=20, views=4, size=(32, 24), points=1500)


def write_layouts(rooms, root, kinds=ROOM_KINDS):
    """The rooms in some layouts; kind -> folder."""
    return {kind: write_rooms(kind, list(rooms), root / kind) for kind in kinds}


def own_folder(room, folder):
    """One's own folder of one scene with four views and no cloud."""
    write_views(room, folder)
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return folder


def spoil(own, index, *, pose=None, depth=None):
    if pose is not None:
        file = own / "pose" / f"{index:06d}.txt"
        write_matrix(file, pose(np.loadtxt(file)))
    if depth is not None:
        write_image(own / "depth" / f"{index:06d}.png", depth)
