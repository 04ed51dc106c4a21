"""The verb `render`: pictures of a scene at given or new poses."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nonet.errors import UserError
from ponderv2.scene_options import SceneOptions


@dataclass(frozen=True, kw_only=True)
class Options(SceneOptions):
    """Draw colour, depth, normals and labels of a scene.

    Without poses, every so-many-th view is held out, drawn, and compared with what its camera saw. With poses
    all views go in, and what is drawn there is not compared.
    """

    hold_out: int | None = None
    """every so-many-th view does not go in and is drawn, without poses only; none: as the model was trained,
    else 10"""
    poses: Path | None = None
    """camera-to-world poses to draw at: a text file of 4 x 4 matrices or of a TUM trajectory, or a folder"""
    intrinsics: tuple[float, float, float, float] | None = None
    """fx fy cx cy of the new pictures, pixels; none: those of the scene's first view"""
    size: tuple[int, int] | None = None
    """width and height of the new pictures, pixels; none: those of the scene's first view"""
    shrink: int = 1
    """draw one pixel for so many of a view, along both sides"""
    lpips: Literal["alex", "squeeze", "vgg"] | None = None
    """compute LPIPS of held-out views with this network, whose ImageNet weights torchvision fetches"""
    text: str | None = None
    """a text vector for each class, for labels: a .npz or .safetensors file, or a CLIP text model"""
    classes: tuple[str, ...] = ()
    """names of the classes; none: those of the data"""
    chunk: int = 4096
    """rays at a time; less takes less memory"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.poses is None:
            if self.hold_out is not None and self.hold_out < 2:
                raise UserError(f"hold_out is {self.hold_out}; it is at least 2, or name poses to draw at")
            for name in ("intrinsics", "size"):
                if getattr(self, name) is not None:
                    raise UserError(f"{name} belongs to new poses; name them with --poses")
        elif self.lpips is not None:
            raise UserError("lpips compares held-out views with photographs; new poses have none")
        for name in ("shrink", "chunk"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it is at least 1")
        if self.size is not None and min(self.size) < 1:
            raise UserError(f"size is {self.size[0]} x {self.size[1]}; both are at least 1")
        if self.intrinsics is not None and not min(self.intrinsics[:2]) > 0:
            raise UserError("intrinsics are fx fy cx cy; fx and fy are above 0")
        if self.classes and self.text is None:
            raise UserError("classes are the names of text vectors; say where these are with --text")
        if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise UserError(f"{self.out}: exists; name a new folder")


def run(options: Options) -> int:
    """Write pictures, a page and the scores."""
    from nonet.cli.progress import progress
    from nonet.files import write_json
    from nonet.training.devices import pick_device
    from ponderv2.encoded_scene import encode_scene, usual_hold_out
    from ponderv2.picture_files import write_pictures
    from ponderv2.pose_files import read_poses
    from ponderv2.rendered_page import write_rendered_page
    from ponderv2.view_rendering import (
        check_perceptual,
        mean_score,
        new_views,
        perceptual_scores,
        render_view,
        score_view,
        shrunk,
    )

    device = pick_device(options.device)
    poses = None if options.poses is None else read_poses(options.poses)
    every = 0 if poses is not None else options.hold_out or usual_hold_out(options.model)
    with progress(label="fit", unit="steps", total=options.steps) as bar:  # type: ignore[var-annotated]
        found = encode_scene(options, device, every=every, done=lambda: bar.advance(1))
    given = found.given
    text, classes = _text(options, found)
    if poses is None:
        if not given.held_out:
            raise UserError(
                f"scene {given.name}: none of its {len(given.inputs)} views is held out by --hold-out "
                f"{every}; name a smaller number, or --poses"
            )
        views = [shrunk(view, options.shrink) for view in given.held_out]
    else:
        views = new_views(poses, given, options.intrinsics, options.size, options.shrink)
    if options.lpips is not None:
        check_perceptual(views, options.lpips)
    pairs, scores = [], []
    with progress(label="render", unit="pictures", total=len(views)) as bar:  # type: ignore[var-annotated]
        for view in views:
            picture = render_view(found.model, found.encoded, view, text=text, chunk=options.chunk)
            pairs.append((view, picture))
            if poses is None:
                scores.append(score_view(picture, view))
            bar.advance(1)
    mean = mean_score(scores).plain() if scores else None
    each = [score.plain() for score in scores]
    if options.lpips is not None and mean is not None:
        distances = perceptual_scores(pairs, options.lpips)
        each = [score | {"lpips": value} for score, value in zip(each, distances, strict=True)]
        mean |= {"lpips": sum(distances) / len(distances)}
    told = {
        "scene": given.name, "model": options.model, "statement": found.statement, "steps": options.steps,
        "classes": list(classes), "mean": mean, "losses": found.losses,
        "views": {view.name: score for (view, _), score in zip(pairs, each, strict=False)},
    }  # fmt: skip
    write_pictures(options.out, pairs, given.sample.world)
    write_json(options.out / "scores.json", told)
    write_rendered_page(options.out / "report.html", pairs, told)
    print(f"scene {given.name}: {len(pairs)} pictures, {options.steps} steps of fitting. {found.statement}")
    if mean is not None:
        print(", ".join(f"{name} {value:.4g}" for name, value in mean.items() if value is not None))
    print(f"page: {options.out / 'report.html'}")
    return 0


def _text(options: Options, found: Any) -> tuple[Any, tuple[str, ...]]:
    """Unit vectors of the classes on the device, and their names; None and no names without."""
    from ponderv2.class_text import read_class_text

    if options.text is None:
        return None, ()
    width = found.model.config.field.semantic
    if not width:
        raise UserError(f"{options.model}: learned nothing from labels, so it draws none; leave text away")
    learned = found.facts.get("classes") or {}
    usual = learned.get(found.given.batch.dataset, ()) if len(learned) != 1 else next(iter(learned.values()))
    classes = options.classes or tuple(usual)
    if not classes:
        raise UserError("the model's folder names no classes; name them with --classes")
    vectors = read_class_text(classes, options.text)
    if vectors.shape[1] != width:
        raise UserError(
            f"{options.text}: vectors of {vectors.shape[1]} numbers; the model was trained with {width}"
        )
    return vectors.to(found.encoded.volume.device), classes
