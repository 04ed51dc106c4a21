"""Depth frames fused into one truncated signed distance and its mesh: the reference to score meshes by.

Each voxel near an observed surface holds the mean over frames of "depth of the pixel it falls on, less its
own depth", cut off at a truncation (Curless & Levoy 1996; Newcombe et al. 2011). Voxels lie in blocks, which
exist only where some frame saw a surface. Ours, so that no Open3D is needed.

Shapes: H, W of a frame; B blocks of SIDE^3 voxels.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from nonet.errors import UserError
from ponderv2.cameras import unproject
from ponderv2.iso_surfaces import surface_of
from ponderv2.meshes import Mesh
from ponderv2.scenes import View
from ponderv2.visibility import nearest_pixels

SIDE = 8
"""voxels along an edge of a block"""
MOST_VOXELS = 400_000_000
"""of the box around all blocks, in which the mesh is looked for: 1.6 GB a number"""
_BITS, _HALF = 21, 1 << 20  # of a block's number along an axis, in a packed key


class Fusion:
    """A truncated signed distance that frames are added to.

    Args:
        voxel: side of a voxel, metres.
        truncation: distance at which values are cut off, metres; None: four voxels.
        longest: depth beyond which a pixel counts as empty, metres; None: no limit.
    """

    def __init__(self, voxel: float = 0.02, *, truncation: float | None = None, longest: float | None = None):
        if not voxel > 0:
            raise ValueError(f"voxel is {voxel}; it is more than 0 metres")
        self.voxel = voxel
        self.truncation = 4 * voxel if truncation is None else truncation
        self.longest = np.inf if longest is None else longest
        self.frames = 0
        self._keys = np.zeros(0, np.int64)  # ascending
        self._slots = np.zeros(0, np.int64)  # where the block of each key lies in the arrays below
        self._distance = np.zeros((0, SIDE**3), np.float32)
        self._weight = np.zeros((0, SIDE**3), np.float32)
        self._color = np.zeros((0, SIDE**3, 3), np.float32)
        steps = np.arange(SIDE)
        self._inner = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)

    def add(self, view: View) -> None:
        """Fuse one frame; its depth is planar metres, 0 where there is none."""
        depth = np.where(view.depth <= self.longest, view.depth, 0).astype(np.float32)
        blocks = self._touched(depth, view)
        if len(blocks):
            self._update(self._blocks(blocks), blocks, depth, view)
        self.frames += 1

    def mesh(self, *, least: float = 1) -> Mesh:
        """The surface, with colours.

        Args:
            least: frames that a voxel must have been seen in.

        Raises:
            UserError: the box around what was seen has too many voxels for one grid.
        """
        if not len(self._keys):
            return surface_of(np.ones((2, 2, 2), np.float32), np.zeros((2, 2, 2), bool), np.zeros(3), 1.0)
        blocks = _unpack(self._keys)
        low, counts = blocks.min(0), np.ptp(blocks, axis=0) + 1
        if int(np.prod(counts * SIDE, dtype=np.int64)) > MOST_VOXELS:
            size = " x ".join(f"{count * SIDE * self.voxel:.1f}" for count in counts)
            raise UserError(
                f"voxels of {self.voxel:g} m in a box of {size} m are too many: take larger voxels"
            )
        grids = []
        for values, empty in ((self._distance, 1.0), (self._weight, 0.0)):
            grid = np.full((*counts, SIDE, SIDE, SIDE), empty, np.float32)
            grid[tuple((blocks - low).T)] = values[self._slots].reshape(-1, SIDE, SIDE, SIDE)
            grids.append(grid.transpose(0, 3, 1, 4, 2, 5).reshape(counts * SIDE))
        origin = (low * SIDE + 0.5) * self.voxel
        found = surface_of(grids[0] * np.float32(self.truncation), grids[1] >= least, origin, self.voxel)
        return Mesh(found.vertices, found.faces, found.normals, self._colors(found.vertices))

    def _touched(self, depth: NDArray[np.float32], view: View) -> NDArray[np.int64]:
        """(B, 3): blocks within the truncation of a pixel's point, along its ray."""
        v, u = np.nonzero(depth)
        if not len(v):
            return np.zeros((0, 3), np.int64)
        side = SIDE * self.voxel
        reach = np.linspace(-self.truncation, self.truncation, 2 + int(2 * self.truncation / (side / 2)))
        keys = []
        for step in reach:
            points = unproject(view, u, v, np.maximum(depth[v, u] + step, 0))
            keys.append(np.unique(_pack(np.floor(points / side).astype(np.int64))))
        return _unpack(np.unique(np.concatenate(keys)))

    def _blocks(self, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where blocks lie in the arrays; new ones are made."""
        keys = _pack(blocks)
        new = keys[~np.isin(keys, self._keys)]
        if len(new):
            slots = np.arange(len(new)) + len(self._distance)
            order = np.argsort(np.concatenate([self._keys, new]), kind="stable")
            self._keys = np.concatenate([self._keys, new])[order]
            self._slots = np.concatenate([self._slots, slots])[order]
            self._distance = np.concatenate([self._distance, np.ones((len(new), SIDE**3), np.float32)])
            self._weight = np.concatenate([self._weight, np.zeros((len(new), SIDE**3), np.float32)])
            self._color = np.concatenate([self._color, np.zeros((len(new), SIDE**3, 3), np.float32)])
        return self._slots[np.searchsorted(self._keys, keys)]

    def _update(
        self, slots: NDArray[np.int64], blocks: NDArray[np.int64], depth: NDArray[np.float32], view: View
    ) -> None:
        centres = ((blocks[:, None] * SIDE + self._inner) + 0.5) * self.voxel  # (B, SIDE^3, 3)
        pixel_u, pixel_v, ahead, inside = nearest_pixels(centres.reshape(-1, 3), view)
        seen = np.zeros(len(inside), np.float32)
        seen[inside] = depth[pixel_v[inside], pixel_u[inside]]
        apart = seen - ahead
        near = (seen > 0) & (apart > -self.truncation)
        slot = np.repeat(slots, SIDE**3)[near]
        inner = np.tile(np.arange(SIDE**3), len(slots))[near]
        weight = self._weight[slot, inner]
        value = np.minimum(apart[near] / self.truncation, 1)
        share = 1 / (weight + 1)
        self._distance[slot, inner] += (value - self._distance[slot, inner]) * share
        color = view.color[pixel_v[near], pixel_u[near]].astype(np.float32)
        self._color[slot, inner] += (color - self._color[slot, inner]) * share[:, None]
        self._weight[slot, inner] = weight + 1

    def _colors(self, vertices: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(V, 3): the colour of the voxel that each vertex lies in."""
        voxels = np.floor(vertices.astype(np.float64) / self.voxel).astype(np.int64)
        keys = _pack(voxels // SIDE)
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        x, y, z = (voxels % SIDE).T
        colors = self._color[self._slots[place], (x * SIDE + y) * SIDE + z]
        return np.where((self._keys[place] == keys)[:, None], colors.round(), 0).astype(np.uint8)


def fuse(
    views: Iterable[View], *, voxel: float = 0.02, least: float = 1, longest: float | None = None
) -> Mesh:
    """Fuse frames into a mesh; see `Fusion` for the arguments.

    Raises:
        UserError: no frame has depth.
    """
    fusion = Fusion(voxel, longest=longest)
    for view in views:
        fusion.add(view)
    mesh = fusion.mesh(least=least)
    if not len(mesh.faces):
        raise UserError(f"{fusion.frames} frames show no surface: is their depth in metres?")
    return mesh


def _pack(blocks: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(blocks) and np.abs(blocks).max() >= _HALF:
        raise UserError("a frame lies more than a million blocks from the origin: are its poses in metres?")
    x, y, z = (blocks + _HALF).T
    return (x << (2 * _BITS)) | (y << _BITS) | z


def _unpack(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    mask = (1 << _BITS) - 1
    return np.stack([keys >> (2 * _BITS), (keys >> _BITS) & mask, keys & mask], 1) - _HALF
