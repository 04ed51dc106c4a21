"""Fine-tunings that take a second or two: options, small rooms in place of files, tiny models."""

import dataclasses
from contextlib import contextmanager
from unittest import mock

import torch
from small_runs import opener

from nonet.testing import call_cli, plain_pages
from ponderv2.model_config import SpUNetConfig
from ponderv2.synthetic import CLASSES
from ponderv2.task_config import TaskConfig
from ponderv2.task_models import build_task_model

BACKBONE = SpUNetConfig(
    in_channels=6, stem=8, channels=(8, 12, 12, 8), blocks=(1, 1, 1, 1), datasets=(), context=8
)
WORDS = (
    "--size", "tiny", "--voxel", "0.3", "--batch", "2", "--augment", "none", "--trainer.accelerator", "cpu",
    "--trainer.log-every", "1", "--trainer.steps", "4", "--trainer.checkpoint-every", "2",
)  # fmt: skip


def config(task="semseg", **values):
    """A tiny configuration for made-up rooms."""
    backbone = dataclasses.replace(BACKBONE, datasets=tuple(values.pop("datasets", ())))
    given = {"classes": {"scannet": CLASSES}, "voxel": 0.3, "backbone": backbone} | values
    if task != "semseg":
        given.setdefault("stuff", ("wall", "floor"))
    return TaskConfig(task=task, **given)


def model(made=None, seed=0, **more):
    """A model whose every weight, statistics of norms included, is away from its initial value."""
    torch.manual_seed(seed)
    built = build_task_model(made or config(), **more)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*built.named_parameters(), *built.named_buffers()]:
            if value.is_floating_point() and "text" not in name and "logit_scale" not in name:
                value.add_((0.3 if value.ndim < 2 else 0.02) * torch.rand(value.shape, generator=random))
    return built.eval()


@contextmanager
def made_up(train, val=None):
    """Let `--data train:x` be some scenes, and `--val val:x` others."""

    def opened(sources, **_):
        words = [sources] if isinstance(sources, str) else list(sources)
        return opener(val if words[0].startswith("val") and val is not None else train)()

    with (
        mock.patch("ponderv2.labelled_scenes.open_scenes", opened),
        mock.patch("ponderv2.predicting.open_scenes", opened),
    ):
        yield


def run(*words, train, val=None):
    """The command on these scenes; its page has no curves."""
    with made_up(train, val), plain_pages():
        return call_cli("ponderv2", *words)
