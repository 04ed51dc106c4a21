"""Pre-trainings that take seconds: options, scenes of several data sets, text vectors."""

import numpy as np

from ponderv2.scenes import SceneList
from ponderv2.synthetic import CLASSES, make_rooms

WORDS = (
    "--size", "tiny", "--volume", "16", "16", "16", "--voxel", "0.4", "--keep", "1", "--views", "2",
    "--rays", "24", "--batch", "2", "--hold-out", "4", "--val-scenes", "1", "--val-side", "16",
    "--trainer.accelerator", "cpu", "--trainer.log-every", "1", "--trainer.steps", "4",
    "--trainer.checkpoint-every", "2", "--trainer.validate-every", "2",
    "--rates.optimizer", "adamw", "--rates.lr", "1e-3",
)  # fmt: skip


def rooms(*datasets, each=2, views=4, points=2000):
    """So many small made-up rooms of each name of a data set."""
    scenes = list(make_rooms(each * len(datasets), views=views, size=(32, 24), points=points))
    for place, scene in enumerate(scenes):
        scene.dataset = datasets[place // each]
    return SceneList(scenes, class_names=dict.fromkeys(datasets, CLASSES))


def opener(scenes):
    """What stands in for `open_scenes`."""
    return lambda *_, **__: scenes


def write_text(path, width=8, names=CLASSES):
    """A file of text vectors: other numbers for each class."""
    random = np.random.default_rng(0)
    np.savez(path, **{name: random.normal(size=width).astype(np.float32) for name in names})
    return path
