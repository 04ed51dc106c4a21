"""From the options of `pretrain` to a run folder with a pre-trained model (ours)."""

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from torch import Tensor, nn

from nonet.data.batching import Batches, OrderedBatches
from nonet.errors import RunFailed, UserError
from nonet.options import dump
from nonet.runs import Run, folder_of, read_metrics
from nonet.training.callbacks import last_good
from nonet.training.checkpoints import (
    StateOfRun,
    read_weights,
    refuse_other_run,
)
from nonet.training.data import StepData
from nonet.training.options import TrainerOptions
from nonet.training.seeds import seed_all
from nonet.training.trainer import build_trainer
from ponderv2.batch_shares import check_shares
from ponderv2.block_mask import BlockMask
from ponderv2.held_views import HeldBatch
from ponderv2.left_out import SHOWN, LeftOut
from ponderv2.loss_guard import LossGuard
from ponderv2.mixed_batches import batches_of_pass
from ponderv2.model_config import PonderConfig, size
from ponderv2.model_folders import load_model, put, read_model, save_model
from ponderv2.ponder import PonderModel, build_ponder
from ponderv2.pretrain_data import PretrainData, read_pretrain_data, read_text, scan_learned
from ponderv2.pretrain_module import PretrainModule
from ponderv2.run_pictures import RunPictures, picture_page
from ponderv2.run_settings import run_settings
from ponderv2.scenes import CHANNELS
from ponderv2.semantic_heads import LanguageHead
from ponderv2.sync_norm import synced

if TYPE_CHECKING:
    from ponderv2.commands.pretrain import Options

Say = Callable[[str], None]

SUPERVISION = {
    "none": "supervision none: colour and depth alone, no label is looked at",
    "labels2d": "supervision labels2d: labels of images are learned from, by their text vectors",
}


def pretrain(options: "Options") -> Path:
    """Pre-train, save the model, its card, its pictures and its page; prints the run's folder.

    Args:
        options: of the verb `pretrain`.

    Returns:
        The run's folder; `model` is in it.

    Raises:
        UserError: what cannot work is refused before there is a run folder.
        RunFailed: a loss is not finite, or memory does not suffice.
    """
    if options.modality != "none":
        from ponderv2.outdoor_pretraining import pretrain_outdoor

        return pretrain_outdoor(options)
    resumed, notes = folder_of(options.resume), list[str]()
    data = read_pretrain_data(options, notes.append)
    check_shares(data.batches, options.trainer)
    trainer = length(options.trainer, options.epochs, data.batches)
    options.rates.check_length(trainer.steps)
    text = read_text(options, data.classes)
    seed_all(options.trainer.seed)
    model = new_model(options, tuple(data.scenes), _width(text), notes.append)
    head = None
    if text and options.prompt == "ppt" and options.point_text:
        head = LanguageHead(model.config.backbone.width, text)
    state = state_of(options, trainer)
    scan_learned(options, data)  # last, as it may take hours: what else is wrong is said before
    run = open_run(options, resumed, state)
    with run:
        for note in [*notes, *account(options, data, model)]:
            run.say(note)
        module = PretrainModule(
            synced(model) if options.sync_norm else model, options.rates,
            steps=trainer.steps, seed=trainer.seed, text=text, point_head=head,
            point_weight=options.point_text if head is not None else 0.0, draw=RunPictures(run),
        )  # fmt: skip
        held: tuple[Any, ...] = ()
        if data.held is not None:
            held = (data.held, OrderedBatches(len(data.held), 1))
        step_data = StepData(
            data.train, data.batches, data.collate, *held, val_collate=HeldBatch,
            workers=trainer.workers, steps=trainer.steps, accumulate=trainer.accumulate,
        )  # fmt: skip
        fit(
            module, step_data, run, trainer, state=state,
            unused=leaves_weights_out(options, model), callbacks=[LeftOut(run, data.remarks)],
        )  # fmt: skip
        if run.writes:
            finish(options, run, module, facts_of(options, data), resumed is not None)
    return run.folder


def new_model(
    options: "Options", datasets: Sequence[str], text_width: int, say: Say = lambda text: None
) -> PonderModel:
    """The model to begin with.

    Args:
        options: size, prompt, coordinates, mask, losses, or `init`.
        datasets: names of the data sets, each with norms of its own under `prompt ppt`.
        text_width: length of a text vector; 0 without supervision by labels.
        say: takes the account of the weights that are loaded.

    Raises:
        UserError: `init` does not fit the options.
    """
    channels = sum(CHANNELS[name] for name in options.channels if name in CHANNELS)
    norms = tuple(datasets) if options.prompt == "ppt" else ()
    if options.init is None:
        config = size(options.size, in_channels=channels, datasets=norms, semantic=text_width)
        if options.volume is not None:
            config = dataclasses.replace(
                config, volume=dataclasses.replace(config.volume, shape=options.volume)
            )
        return build_ponder(_with_options(config, options), mask=_mask(options, channels))
    source, facts = load_model(options.init), read_model(options.init).facts
    config = source.config
    if options.volume is not None and options.volume != config.volume.shape:
        raise UserError(f"volume is given, but {options.init} brings its own: leave it out")
    known = tuple(facts.get("channels", ()))  # those of a converted checkpoint are not known
    if known and known != options.channels:
        raise UserError(
            f"channels are {' '.join(options.channels)}, and {options.init} learned from {' '.join(known)}: "
            "give these, in this order"
        )
    if config.backbone.in_channels != channels:
        raise UserError(
            f"channels make {channels} numbers of a point, and {options.init} takes "
            f"{config.backbone.in_channels}: name its channels"
        )
    if (trained := facts.get("voxel")) is not None and not math.isclose(trained, options.voxel):
        say(f"warning: voxels of {options.voxel:g} m, but {options.init} was trained on {trained:g} m")
    if set(config.backbone.datasets) != set(norms):
        theirs = ", ".join(config.backbone.datasets) or "one norm for all"
        raise UserError(f"{options.init} has norms for {theirs}: give these data sets, and the same prompt")
    field = dataclasses.replace(config.field, semantic=text_width)
    config = dataclasses.replace(config, field=field)
    theirs = "legacy" if config.volume.legacy else "correct"
    if options.coordinates not in (None, theirs):
        say(f"{options.init} has {theirs} coordinates, and goes on with {options.coordinates} ones")
    model = build_ponder(_with_options(config, options), mask=_mask(options, channels))
    put(model, source.state_dict(), say=say)
    return model


def fit(
    module: L.LightningModule,
    data: StepData,
    run: Run,
    trainer: TrainerOptions,
    *,
    state: Mapping[str, Any],
    unused: bool = False,
    callbacks: Sequence[L.Callback] = (),
) -> None:
    """Train in a run's folder; from its last checkpoint on if there is one.

    Args:
        module: what is trained; a `loss_guard.Guarded`.
        data: what it is trained on.
        run: where numbers and checkpoints go.
        trainer: length, devices, precision.
        state: plain values that a checkpoint must share with the call that goes on from it.
        unused: some steps leave weights out.
        callbacks: more of them.

    Raises:
        RunFailed: a loss is not finite, or memory does not suffice.
    """
    callbacks = [StateOfRun(**state), LossGuard(run), *callbacks]
    engine = build_trainer(trainer, run, callbacks=callbacks, unused=unused)
    last = run.checkpoints / "last.ckpt"
    if not last.exists():
        run.rewind(0)  # lines of a session that was killed before its first checkpoint
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")  # frozen parts are
            engine.fit(module, datamodule=data, ckpt_path=last if last.exists() else None)
    except torch.OutOfMemoryError as error:
        raise RunFailed(
            "memory does not suffice: lower batch (and raise trainer.accumulate), views, rays or "
            f"the volume; {last_good(run)}"
        ) from error


def open_run(options: Any, resumed: Path | None, state: Mapping[str, Any]) -> Run:
    """A new run folder of `pretrain`, or one to go on with.

    Args:
        options: of the verb.
        resumed: the folder to go on with; None: a new one.
        state: of `state_of`.

    Raises:
        UserError: the run has other settings; nothing is written to its folder.
    """
    refuse_other_run(resumed, state)
    if resumed is not None:
        return Run.resume(resumed, options)
    return Run.create("ponderv2", "pretrain", options, seed=options.trainer.seed, folder=options.out)


def length(trainer: TrainerOptions, epochs: float, batches: Batches) -> TrainerOptions:
    """The options with the steps of so many passes; as they are where epochs is 0."""
    if not epochs:
        return trainer
    steps = max(1, round(epochs * batches_of_pass(batches) / trainer.accumulate))
    return dataclasses.replace(trainer, steps=steps)


def state_of(options: "Options", trainer: TrainerOptions) -> dict[str, Any]:
    """What a run that goes on must share with its begin."""
    return run_settings(options, trainer)


def leaves_weights_out(options: "Options", model: PonderModel) -> bool:
    """Whether a step may give some weights no gradient, which data parallelism has to be told.

    So it is with norms of several data sets, and where the loss has a weight of 0 that alone teaches a part.
    """
    names = ["color", "sdf", "eikonal", *(["semantic"] if model.config.field.semantic else [])]
    return len(model.config.backbone.datasets) > 1 or not all(getattr(options.losses, name) for name in names)


def account(options: "Options", data: PretrainData, model: nn.Module) -> list[str]:
    """Lines of what is about to happen."""
    scenes = ", ".join(f"{count:,} of {name}" for name, count in data.scenes.items())
    lines = [f"left out: {number:,} for {reason}" for reason, number in data.skipped.items()]
    lines += [f"  {line}" for line in data.remarks[:SHOWN]]
    lines += [f"scenes: {scenes}; {data.held_views:,} views are held out", SUPERVISION[options.supervision]]
    if options.supervision == "labels2d" and options.prompt == "ppt" and options.point_text:
        lines.append(f"labels of points are learned from, too (point_text {options.point_text:g})")
    parameters = sum(weight.numel() for weight in model.parameters())
    backbone = sum(weight.numel() for weight in model.backbone.parameters())
    lines.append(f"{parameters:,} parameters, {backbone:,} of them in the backbone")
    if data.held is not None and (own := data.held.whole()):
        lines.append(
            f"{own:,} of {len(data.held):,} scenes that are validated bring their own clouds: points that "
            "held-out views see are part of the input"
        )
    if data.held is not None and not data.held_views:
        lines.append("no scene has enough views to hold any out: views that training sees are validated")
    return lines


def facts_of(options: "Options", data: PretrainData) -> dict[str, Any]:
    """What the model's folder says about its training."""
    return {
        "verb": "pretrain", "modality": options.modality, "supervision": options.supervision,
        "prompt": options.prompt, "text": options.text, "clip_reduce": options.clip_reduce,
        "channels": list(options.channels), "voxel": options.voxel, "keep": options.keep,
        "mask_ratio": options.mask_ratio, "scenes": data.scenes,
        "classes": {name: list(names) for name, names in data.classes.items()},
        "hold_out": options.hold_out, "held_out_views": data.held_views,
    }  # fmt: skip


def finish(options: Any, run: Run, module: PretrainModule, facts: Mapping[str, Any], overwrite: bool) -> None:
    """Save the model and the page; print the folder."""
    model = module.model.to("cpu")
    model.load_state_dict(read_weights(run.checkpoints / "last.ckpt", prefix="model."))
    lines = [line for line in read_metrics(run.folder) if any(name.startswith("val/") for name in line)]
    scores = {}
    if lines:
        scores = {name: round(value, 4) for name, value in lines[-1].items() if name.startswith("val/")}
    save_model(
        run.model, model.eval(), {**facts, "scores": scores, "options": dump(options)}, overwrite=overwrite
    )
    picture_page(run.folder).save(run.folder / "report.html")
    print(run.folder)


def _with_options(config: PonderConfig, options: "Options") -> PonderConfig:
    config = dataclasses.replace(config, losses=options.losses)
    if options.coordinates is None:
        return config
    legacy = options.coordinates == "legacy"
    return dataclasses.replace(config, volume=dataclasses.replace(config.volume, legacy=legacy))


def _mask(options: "Options", channels: int) -> BlockMask | None:
    if not options.mask_ratio:
        return None
    return BlockMask(channels, ratio=options.mask_ratio, size=options.mask_size)


def _width(text: Mapping[str, Tensor]) -> int:
    return max((int(vectors.shape[1]) for vectors in text.values()), default=0)
