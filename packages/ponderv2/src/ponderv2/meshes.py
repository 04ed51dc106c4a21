"""Triangle meshes: what they hold, and PLY and OBJ files of them. Source: ours.

Shapes: V vertices, F triangles.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nonet.files import replacing
from ponderv2.mesh_names import check_mesh_name


@dataclass(frozen=True)
class Mesh:
    """Triangles in metres; seen from outside, a triangle's corners go counter-clockwise.

    Attributes:
        vertices: (V, 3) float32, metres.
        faces: (F, 3) int64, numbers of vertices.
        normals: (V, 3) float32 of length 1, outward; or None.
        colors: (V, 3) uint8; or None.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int64]
    normals: NDArray[np.float32] | None = None
    colors: NDArray[np.uint8] | None = None

    def kept(self, faces: NDArray[np.bool_]) -> "Mesh":
        """The mesh of some of the triangles, (F,) bool, without vertices that no triangle has."""
        chosen = self.faces[faces]
        used, numbers = np.unique(chosen, return_inverse=True)
        return Mesh(
            self.vertices[used],
            numbers.reshape(-1, 3).astype(np.int64),
            None if self.normals is None else self.normals[used],
            None if self.colors is None else self.colors[used],
        )

    def moved(self, world: NDArray[np.float64]) -> "Mesh":
        """The mesh after a similarity (4, 4); triangles are turned over if it mirrors, and still face out."""
        linear = world[:3, :3]
        mirrored = np.linalg.det(linear) < 0
        rotation = linear / np.cbrt(abs(np.linalg.det(linear)))
        return Mesh(
            (self.vertices @ linear.T + world[:3, 3]).astype(np.float32),
            self.faces[:, ::-1].copy() if mirrored else self.faces,
            None if self.normals is None else (self.normals @ rotation.T).astype(np.float32),
            self.colors,
        )

    def face_normals(self) -> NDArray[np.float64]:
        """(F, 3) float64, the cross product of two sides: twice the area long, outward."""
        corners = self.vertices[self.faces].astype(np.float64)
        return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def write_mesh(mesh: Mesh, path: str | Path) -> Path:
    """Write `.ply` (binary) or `.obj` (text, colours behind the coordinates), at once or not at all.

    Raises:
        UserError: the name ends in neither.
    """
    path = Path(path)
    check_mesh_name(path)
    with replacing(path) as part:
        (_write_ply if path.suffix.lower() == ".ply" else _write_obj)(mesh, part)
    return path


def _write_ply(mesh: Mesh, path: Path) -> None:
    fields: list[tuple[str, str]] = [(name, "<f4") for name in ("x", "y", "z")]
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        "comment metres",
        f"element vertex {len(mesh.vertices)}",
    ]
    columns = [mesh.vertices]
    if mesh.normals is not None:
        fields += [(name, "<f4") for name in ("nx", "ny", "nz")]
        columns.append(mesh.normals)
    lines += [f"property float {name}" for name, _ in fields]
    if mesh.colors is not None:
        colours = ("red", "green", "blue")
        fields += [(name, "u1") for name in colours]
        lines += [f"property uchar {name}" for name in colours]
    vertices = np.empty(len(mesh.vertices), fields)
    for (name, _), column in zip(fields, np.concatenate(columns, 1).T, strict=False):
        vertices[name] = column
    if mesh.colors is not None:
        for name, column in zip(("red", "green", "blue"), mesh.colors.T, strict=True):
            vertices[name] = column
    faces = np.empty(len(mesh.faces), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces
    lines += [f"element face {len(mesh.faces)}", "property list uchar int vertex_indices", "end_header"]
    with path.open("wb") as file:
        file.write(("\n".join(lines) + "\n").encode("ascii"))
        file.write(vertices.tobytes())
        file.write(faces.tobytes())


def _write_obj(mesh: Mesh, path: Path) -> None:
    rows = mesh.vertices.astype(np.float64)
    form = "v %.6f %.6f %.6f"
    if mesh.colors is not None:  # not in the standard, yet read by MeshLab, Blender, Open3D
        rows = np.concatenate([rows, mesh.colors / 255.0], 1)
        form += " %.4f %.4f %.4f"
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.write("# metres\n")
        np.savetxt(file, rows, form)
        if mesh.normals is not None:
            np.savetxt(file, mesh.normals, "vn %.5f %.5f %.5f")
        corners = mesh.faces + 1  # OBJ counts from 1
        if mesh.normals is None:
            np.savetxt(file, corners, "f %d %d %d")
        else:
            np.savetxt(file, np.repeat(corners, 2, 1), "f %d//%d %d//%d %d//%d")
