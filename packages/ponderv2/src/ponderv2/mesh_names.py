"""What a mesh's file is called; apart from `meshes`, so that options load no NumPy. Source: ours."""

from pathlib import Path

from nonet.errors import UserError

FORMATS = (".ply", ".obj")


def check_mesh_name(path: Path) -> None:
    """Raise UserError if the name of a mesh does not end in .ply or .obj."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path}: a mesh is written as .ply or .obj; end its name so")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name the file in it")
