"""From options to a scene that can be drawn: open, hold views out, encode, fit if wanted. Source: ours."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from nonet.errors import UserError
from ponderv2.model_folders import load_model, read_model
from ponderv2.ponder import Encoded, PonderModel
from ponderv2.reading import open_scenes
from ponderv2.scene_fitting import FitPlan, fit_scene
from ponderv2.scene_inputs import SceneInput, scene_input
from ponderv2.scene_options import SceneOptions
from ponderv2.scenes import Scene
from ponderv2.transforms import VOXEL
from ponderv2.view_split import held_numbers

CHANNELS = ("color", "normal")
"""what a model takes if its folder does not say"""
HELD_OUT = 10
"""every so-many-th view is held out if a model's folder does not say"""


@dataclass(frozen=True)
class EncodedScene:
    """A scene that a model has seen.

    Attributes:
        model: in eval mode; the fitted one, if the scene was fitted.
        encoded: its volume.
        given: what went in, and which views did not.
        losses: of the fit, by step; empty without.
        facts: of the model's folder.
        learned: how many of the held-out views pre-training learned from, if it learned from this scene and
            the folder says what it held out.
    """

    model: PonderModel
    encoded: Encoded
    given: SceneInput
    losses: list[float]
    facts: dict[str, Any]
    learned: int

    @property
    def statement(self) -> str:
        """Whether what held-out views show was part of the input or of pre-training, in a sentence or two."""
        if not self.given.held_out:
            return self.given.statement
        trained = self.facts.get("hold_out")
        if trained is None:
            more = (
                " The model's folder does not say which views pre-training held out: of a scene that it "
                "learned from, it may have seen these, too."
            )
        elif trained == 0:
            more = " Pre-training held no view out: of a scene that it learned from, it saw these, too."
        elif self.learned:
            more = (
                f" Pre-training held out other views (hold-out {trained}): of a scene that it learned from, "
                f"it saw {self.learned} of these {len(self.given.held_out)}, too."
            )
        else:
            more = ""
        return self.given.statement + more


def usual_hold_out(model: str) -> int:
    """Which views a model never learned from, so that scores of others are not those of views it knows: every
    so-many-th, as its folder says. Where that says that none was held out, or nothing, every tenth; see
    `EncodedScene.statement`.

    Raises:
        UserError: no such model.
    """
    return int(read_model(model).facts.get("hold_out") or HELD_OUT)


def encode_scene(
    options: SceneOptions, device: str, *, every: int = 0, done: Callable[[], object] = lambda: None
) -> EncodedScene:
    """Open model and scene, encode, and fit for `options.steps` steps.

    Args:
        options: which.
        device: where.
        every: every so-many-th view is held out; 0: none.
        done: called after each step of the fit.

    Raises:
        UserError: something cannot be read, or they do not fit together.
    """
    folder = read_model(options.model)
    model = load_model(options.model).to(device).eval()
    scene = pick_scene(options)
    given = scene_input(
        scene,
        voxel=float(folder.facts.get("voxel", VOXEL)),
        channels=tuple(folder.facts.get("channels", CHANNELS)),
        every=every,
        most=options.views,
    )
    batch = given.batch.to(device)
    if options.norms is not None:
        batch = replace(batch, dataset=options.norms)
    encoded = encode(model, batch, options.volume)
    plan = FitPlan(
        steps=options.steps, rays=options.rays, rate=options.rate, finer=options.finer, seed=options.seed
    )
    if plan.steps and not given.inputs:
        raise UserError(f"scene {scene.name}: has no views to fit it to; leave steps away")
    fitted = fit_scene(model, encoded, batch, given.inputs, plan, done=done)
    facts = dict(folder.facts)
    known = _held(scene, int(facts.get("hold_out") or 0))
    learned = sum(view.name not in known for view in given.held_out)
    return EncodedScene(fitted.model, fitted.encoded, given, fitted.losses, facts, learned)


@torch.no_grad()
def encode(model: PonderModel, batch: Any, volume: tuple[int, int, int] | None = None) -> Encoded:
    """The volume of a batch, with other cells than the model was trained with if `volume` says so.

    Raises:
        UserError: those cannot be halved as often as the model halves them.
    """
    if volume is None:
        return model.encode(batch)
    own = model.config
    model.config = replace(own, volume=replace(own.volume, shape=volume))
    try:
        return model.encode(batch)
    finally:
        model.config = own


def pick_scene(options: SceneOptions) -> Scene:
    """The one scene that is meant.

    Raises:
        UserError: there are several and none is named, or none of that name.
    """
    scenes = open_scenes(
        options.data, depth_scale=options.depth_scale, up=options.up, frame_step=options.frame_step,
        normals=options.normals,
    )  # fmt: skip
    named = {scene.name: scene for scene in scenes}
    if options.scene is not None:
        if options.scene not in named:
            raise UserError(f"no scene {options.scene} in {' '.join(options.data)}; there is {_some(named)}")
        return named[options.scene]
    if len(scenes) != 1:
        raise UserError(
            f"{' '.join(options.data)} has {len(scenes)} scenes; name one with --scene: {_some(named)}"
        )
    return scenes[0]


def _held(scene: Scene, every: int) -> set[str]:
    """Names of the views that are held out where every so-many-th is."""
    names = scene.view_names
    return {names[number] for number in held_numbers(len(names), every)}


def _some(named: dict[str, Scene], most: int = 5) -> str:
    names = list(named)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
