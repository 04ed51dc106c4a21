"""From a model's folder to a task: image size, text length, a decoder where there is none (ours)."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nonet.errors import UserError
from nonet.vision_language.pair_config import read_config
from nonet.vision_language.pair_folders import LoadedPair, load_extra, load_pair_model, pair_folder
from nonet.vision_language.pair_model import PairModel
from nonet.vision_language.tasks.caption import CaptionTask
from nonet.vision_language.tasks.grounding import GroundingTask
from nonet.vision_language.tasks.nlvr2 import Nlvr2Task
from nonet.vision_language.tasks.retrieval_task import RetrievalTask
from nonet.vision_language.tasks.task import Task
from nonet.vision_language.tasks.task_files import read_answers
from nonet.vision_language.tasks.task_options import FinetuneOptions, PredictOptions, UseOptions
from nonet.vision_language.tasks.task_settings import DEFAULTS, TaskName, TaskSettings, read_settings
from nonet.vision_language.tasks.vqa import VqaTask
from nonet.vision_language.training_stages import learnt, read_stages, told

Say = Callable[[str], None]

Equip = Callable[[Task, Path, Say], None]
"""(task, folder of its model, say): adds what a package has of its own"""

KINDS: dict[TaskName, type[Task]] = {
    "retrieval": RetrievalTask, "vqa": VqaTask, "caption": CaptionTask, "nlvr2": Nlvr2Task,
    "grounding": GroundingTask,
}  # fmt: skip

WRITING = ("vqa", "caption")  # tasks that take a decoder

RERANK = 256  # candidates of a query for a matching head that has learnt, as in mPLUG's configurations


def start_task(options: FinetuneOptions, say: Say, equip: Equip | None = None) -> Task:
    """A task to fine-tune.

    Args:
        options: of the verb.
        say: takes what was done to the weights.
        equip: adds what a package has of its own, before weights are frozen.

    Raises:
        UserError: no such model, or one that does not fit.
    """
    settings = options.settings()
    loaded = _load(options.model, say, options.filled("image"), settings)
    model = loaded.model
    if options.task in WRITING:
        if model.decoder is None:
            model = with_decoder(model, options.decoder_layers, say)
        elif options.decoder_layers not in (None, model.config.decoder_layers):
            raise UserError(f"{options.model}: has a decoder of {model.config.decoder_layers} layers already")
    elif options.decoder_layers is not None:
        raise UserError(f"decoder_layers is for {' and '.join(WRITING)}, not for {options.task}")
    task = _make(options.task, model, loaded.tokenizer, settings, options.answers)
    for name, head in task.heads.items():
        if load_extra(loaded.folder, name, head, say=say):
            say(f"{name}: taken from {loaded.folder}")
    if isinstance(task, RetrievalTask):
        task.rerank = options.rerank
        task.learn(queue=options.queue, momentum=options.momentum, alpha=options.alpha)
    if equip is not None:
        equip(task, loaded.folder, say)
    task.freeze()
    task.train()
    return task


def load_task(options: UseOptions, say: Say, equip: Equip | None = None) -> Task:
    """A task to use, in evaluation mode.

    Args:
        options: of the verb.
        say: takes what is worth knowing.
        equip: adds what a package has of its own.

    Raises:
        UserError: no such model, one for another task, or one that lacks a part.
    """
    folder = pair_folder(options.model)
    stages = read_stages(folder, options.model)
    for stage in stages:
        say(told(stage))
    kept = read_settings(folder, options.task)
    settings = kept or _untrained(options.task, read_config(folder).max_length)
    given = {name: getattr(options, name) for name in ("max_length", "beams", "shortest", "longest")}
    settings = dataclasses.replace(
        settings, **{name: value for name, value in given.items() if value is not None}
    )
    loaded = _load(options.model, say, options.image, settings)
    if kept is None:
        say(f"{options.model}: was not fine-tuned for {options.task}")
    task = _make(options.task, loaded.model, loaded.tokenizer, settings, options.answers)
    for name, head in task.heads.items():
        if not load_extra(folder, name, head, say=say):
            raise UserError(
                f"{folder}: no {name}.safetensors in it, without which there is no {options.task}: fine-tune "
                "the model on it first"
            )
    if isinstance(task, RetrievalTask):
        task.rerank = _candidates(options, learnt(stages, "itm"), say)
        task.top = options.top if isinstance(options, PredictOptions) else task.top
    if equip is not None:
        equip(task, folder, say)
    task.eval()
    return task


@torch.no_grad()  # type: ignore[untyped-decorator]
def with_decoder(model: PairModel, layers: int | None, say: Say) -> PairModel:
    """A model with a decoder that begins as the fusion's last layers (ALBEF, Li et al. 2021, section 4).

    Args:
        model: without one.
        layers: of the decoder; None: as many as the fusion has.
        say: takes what was done.

    Returns:
        A new model with the same weights; a layer that the fusion does not have, and one whose counterpart is
        connected and so has no attention over the image, keeps random weights there.
    """
    count = layers or model.config.fusion_layers
    made = PairModel(dataclasses.replace(model.config, decoder_layers=count), vision=model.vision)
    made.load_state_dict(model.state_dict(), strict=False)
    assert made.decoder is not None
    made.decoder.embeddings.load_state_dict(model.text.embeddings.state_dict())
    made.decoder.head.dense.load_state_dict(model.mlm_head.dense.state_dict())
    made.decoder.head.norm.load_state_dict(model.mlm_head.norm.state_dict())
    made.decoder.head.bias.copy_(model.mlm_head.bias)
    taken = list(model.fusion.layers)[-count:]
    for layer, source in zip(list(made.decoder.layers)[-len(taken) :], taken, strict=True):
        layer.load_state_dict(source.state_dict(), strict=False)
    say(f"a decoder of {count} layers was added; {len(taken)} begin as layers of the fusion")
    return made


def _candidates(options: UseOptions, matches: bool, say: Say) -> int:
    """How many candidates the matching head scores: none, unless asked for, where it has learnt nothing."""
    if matches:
        return RERANK if options.rerank is None else options.rerank
    if options.rerank is None:
        say(f"{options.model}: its matching head was not trained: cosines alone are compared (rerank 0)")
    elif options.rerank:
        say(f"warning: {options.model}: its matching head was not trained, and rerank asks it to score")
    return options.rerank or 0


def _untrained(task: TaskName, max_length: int) -> TaskSettings:
    """Settings for a model that was only pre-trained: its texts are as long as there, and it has learnt to
    write from fused tokens."""
    settings = dataclasses.replace(DEFAULTS[task].settings, max_length=max_length)
    return dataclasses.replace(settings, look="fused") if task == "caption" else settings


def _load(name: str, say: Say, image: int | None, settings: TaskSettings) -> LoadedPair:
    config = read_config(pair_folder(name))
    needed = max(settings.max_length, settings.longest + 2)
    if needed > config.positions:
        raise UserError(
            f"texts of {needed} word pieces, but {name} has {config.positions} positions: lower max_length "
            "or longest"
        )
    same = image in (None, config.image) and not (image and config.image_width)
    loaded = load_pair_model(name, say=say, image=None if same else image)
    if loaded.tokenizer is None:
        raise UserError(f"{loaded.folder}: no tokenizer in it, so texts cannot be read")
    return loaded


def _make(
    task: TaskName, model: PairModel, tokenizer: Any, settings: TaskSettings, answers: Path | None
) -> Task:
    if task == "vqa":
        return VqaTask(model, tokenizer, settings, () if answers is None else read_answers(answers))
    return KINDS[task](model, tokenizer, settings)
