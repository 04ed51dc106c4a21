"""The verb `reconstruct`: a mesh of a scene."""

from dataclasses import dataclass
from pathlib import Path

from nonet.errors import UserError
from ponderv2.scene_options import SceneOptions


@dataclass(frozen=True, kw_only=True)
class Options(SceneOptions):
    """Make a mesh of a scene: where the signed distance of a pre-trained model is 0, in the scene's metres.

    Without steps the mesh is what the model sees at once, which is as coarse as its volume: 6 cm and more in
    a room. With steps the volume is fitted to the scene's frames first, on a finer grid if wanted.
    """

    spacing: float = 0.03
    """metres between the points where the distance is looked up"""
    reach: float | None = None
    """metres behind an observed surface that still belong to the mesh; none: as far as the losses looked"""
    color: bool = True
    """give the vertices colours"""
    hold_out: int = 0
    """every so-many-th view does not go in; 0: all go in"""
    reference: str | None = None
    """score against a mesh: a .ply file in the scene's metres, or tsdf: all depth frames fused"""
    reference_voxel: float = 0.02
    """side of a voxel of the fused frames, metres"""
    distance: float = 0.05
    """how near to the other mesh a point counts as right, metres"""
    samples: int = 200_000
    """points that are drawn on each mesh to score it"""
    scores: Path | None = None
    """JSON file for scores and settings; none: only printed"""

    def __post_init__(self) -> None:
        super().__post_init__()
        from ponderv2.mesh_names import check_mesh_name

        check_mesh_name(self.out)
        for name in ("spacing", "reach", "reference_voxel", "distance"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"{name} is {value:g} metres; it is above 0")
        if self.samples < 1:
            raise UserError(f"samples is {self.samples}; it is at least 1")
        if self.hold_out < 0 or self.hold_out == 1:
            raise UserError(f"hold_out is {self.hold_out}; it is 0, or at least 2, as some views must go in")
        if self.reference not in (None, "tsdf") and Path(self.reference).suffix.lower() != ".ply":
            raise UserError(f"reference is {self.reference}; it is tsdf or a .ply file")


def run(options: Options) -> int:
    """Write the mesh; print what it is and how it scores."""
    import sys

    import numpy as np

    from nonet.cli.progress import progress
    from nonet.files import write_json
    from nonet.training.devices import pick_device
    from ponderv2.encoded_scene import encode_scene
    from ponderv2.mesh_scoring import parts_of, read_reference, score_mesh
    from ponderv2.meshes import write_mesh
    from ponderv2.reconstruct import cell_sides, reconstruct
    from ponderv2.tsdf import fuse

    device, reference = pick_device(options.device), None
    if options.reference not in (None, "tsdf"):
        reference = read_reference(Path(str(options.reference)))
    with progress(label="fit", unit="steps", total=options.steps) as bar:  # type: ignore[var-annotated]
        found = encode_scene(options, device, every=options.hold_out, done=lambda: bar.advance(1))
    given, cube = found.given, found.encoded.cube
    views = [view.moved(given.to_scene) for view in (*given.inputs, *given.held_out)]
    if options.reference == "tsdf" and not views:
        raise UserError(f"scene {given.name}: has no depth frames to fuse; name a .ply file")
    extent = float(1 / cube.scale[0])
    reach = options.reach or found.model.config.losses.truncation * extent
    mesh = reconstruct(
        found.model, found.encoded, given.batch.box[0].numpy(), given.inputs, given.sample.cloud.coord,
        spacing=options.spacing, reach=reach, color=options.color,
    ).moved(given.to_scene)  # fmt: skip
    if not len(mesh.faces):
        raise UserError(
            f"scene {given.name}: the distance is 0 nowhere that was observed; fit the scene with --steps"
        )
    cells = " x ".join(f"{side:.3f}" for side in cell_sides(found.encoded))
    size = " x ".join(f"{side:.2f}" for side in np.ptp(mesh.vertices, axis=0))
    print(f"scene {given.name}: {len(mesh.vertices)} vertices, {len(mesh.faces)} triangles, {size} m")
    print(
        f"cells of the volume: {cells} m; grid every {options.spacing:g} m; {options.steps} steps of fitting"
    )
    print(found.statement)
    write_mesh(mesh, options.out)  # first: to score it may take longer than to make it
    print(f"mesh: {options.out}", flush=True)
    scores = None
    if options.reference is not None:
        if reference is None:
            reference = fuse(
                progress(views, label="fusing the reference", unit="frames"), voxel=options.reference_voxel
            )
        with progress(label="scoring", unit="parts", total=parts_of(views)) as bar:  # type: ignore[var-annotated]
            scores = score_mesh(
                mesh, reference, views, distance=options.distance, samples=options.samples, seed=options.seed,
                done=lambda: bar.advance(1),
            )  # fmt: skip
        for name, value in scores.items():
            print(f"{name}: {value:.4f}")
    if options.scores is not None:
        write_json(
            options.scores,
            {
                "scene": given.name, "model": options.model, "mesh": str(options.out), "scores": scores,
                "reference": options.reference, "distance": options.distance, "spacing": options.spacing,
                "reach": reach, "steps": options.steps, "held_out": [view.name for view in given.held_out],
                "statement": found.statement, "losses": found.losses,
            },
        )  # fmt: skip
        print(f"scores: {options.scores}", file=sys.stderr)
    return 0
