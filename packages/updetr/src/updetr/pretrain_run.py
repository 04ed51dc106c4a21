"""From the options of `pretrain` to a run folder with a model that finds patches (ours)."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonet.data.batching import OrderedBatches, RandomBatches
from nonet.data.images import find_images
from nonet.errors import UserError
from nonet.options import dump
from nonet.report.run_page import run_page
from nonet.runs import Run, folder_of, read_metrics
from nonet.training.checkpoints import read_weights
from nonet.training.data import StepData
from nonet.training.seeds import seed_all
from nonet.training.strategies import choose_accelerator
from updetr.detector import parameter_count
from updetr.feature_cache import write_features
from updetr.file_notes import FileNotes
from updetr.loading import load_into, new_detector, save_model
from updetr.model_folders import read_source
from updetr.pretext_files import build_pretext
from updetr.pretrain_module import PretrainModule
from updetr.query_patches import PatchDetector
from updetr.training import (
    Say,
    config_of,
    fit,
    held_out,
    length,
    open_run,
    set_loss,
    start_backbone,
    suitable,
)

if TYPE_CHECKING:
    from updetr.commands.pretrain import Options

UNFROZEN = (
    "warning: the backbone is trained, too; in the paper that ended at 62.0 to 74.0 AP50 on VOC, and at 78.7 "
    "with a frozen one"
)
CHANCE = 0.02  # of overlap above the floor: less says nothing


def pretrain(options: "Options") -> Path:
    """Pre-train, save the model, its card and its page; prints the run's folder.

    Args:
        options: of the verb `pretrain`.

    Returns:
        The run's folder; `model` is in it.

    Raises:
        UserError: what cannot work is refused before there is a run folder.
        RunFailed: a loss is not finite, memory does not suffice, or over half of the images are unusable.
    """
    resumed, notes = folder_of(options.resume), list[str]()
    early = options.targets != "proposals"  # these are kept in the run's folder
    seed, keep = options.trainer.seed, options.keep_images
    data = build_pretext(options, seed=seed, say=notes.append, keep=keep) if early else None
    if data is None:
        find_images(options.images)
    seed_all(options.trainer.seed)
    model = new_patch_detector(options, notes.append)
    trainer = suitable(options.trainer, notes.append)
    loss = set_loss(
        model.detector, options.loss, group=model.detector.config.group, match=options.match,
        features=options.loss.features if reconstructs(options) else 0.0,
    )  # fmt: skip
    state: dict[str, Any] = {
        "batch": options.batch, "lr": options.rates.lr, "match": options.match,
        "num_patches": options.num_patches, "patch_size": options.patch_size,
    }  # fmt: skip
    if not options.epochs:
        state |= {"steps": trainer.steps}
    with open_run("pretrain", options, resumed=resumed, seed=trainer.seed, state=state) as run:
        for note in notes:
            run.say(note)
        if data is None:
            data = build_pretext(
                options, seed=seed, say=run.say, folder=run.folder, writes=run.writes, keep=keep
            )
        if options.cache_features is not None:
            cache = write_features(
                options.cache_features, data.images, model.detector.backbone.fold(), options.scales,
                options.longest, device=choose_accelerator(trainer), orient=data.targets is None,
                writes=run.writes, say=run.say,
            )  # fmt: skip
            data = data.with_cache(cache)
        train, kept = held_out(len(data), options.val_size, trainer.seed)
        batches = RandomBatches(len(train), min(options.batch, len(train)), trainer.seed)
        trainer = length(trainer, options.epochs, batches)
        run.say(
            f"{len(train):,} images, {len(kept)} to validate on; {trainer.steps:,} steps; "
            f"{parameter_count(model):,} parameters, {parameter_count(model, trainable=True):,} learn"
        )
        module = PretrainModule(
            model, loss, options.rates, steps=trainer.steps, seed=trainer.seed,
            patch_size=options.patch_size, augment=options.augment, masked=options.query_mask,
            shuffle=options.query_shuffle, ema=options.ema,
        )  # fmt: skip
        held: tuple[Any, ...] = ()
        if kept:
            held = (data.subset(kept), OrderedBatches(len(kept), options.batch))
        step_data = StepData(
            data.subset(train), batches, data.collate, *held,
            workers=trainer.workers, steps=trainer.steps, accumulate=trainer.accumulate,
        )  # fmt: skip
        state |= {"steps": trainer.steps}
        files = FileNotes(run, len(data), before=data.left_out)
        last = fit(module, step_data, run, trainer, state=state, callbacks=[files])
        if run.writes:
            _finish(options, run, module, last, len(train), resumed is not None)
    return run.folder


def reconstructs(options: "Options") -> bool:
    """Whether features are reconstructed: a head that no loss looks at would be left out of the gradients."""
    return options.reconstruct and options.loss.features > 0


def new_patch_detector(options: "Options", say: Say) -> PatchDetector:
    """The model to begin with; its backbone is frozen or not as the options say."""
    own = {
        "patches": options.num_patches, "patch_tokens": options.patch_tokens, "labels": ("patch",),
        "reconstruct": reconstructs(options),
    }  # fmt: skip
    if options.init is None:
        model = PatchDetector(new_detector(options.config(**own)))  # type: ignore[arg-type]
    else:
        source = read_source(options.init)
        config = config_of(options, source.config, options.init)
        model = PatchDetector(new_detector(replace(config, **own), source.backbone))  # type: ignore[arg-type]
        load_into(model, options.init, say=say)
    backbone = model.detector.backbone
    start_backbone(backbone, options, say, started=options.init is not None)
    backbone.freeze(1 if options.rates.backbone_lr else None)
    if model.detector.sigmoid:
        model.detector.freeze_choice()
        if options.cache_features is not None:
            raise UserError(
                f"cache_features keeps the backbone's last map; {model.detector.config.arch} needs three: "
                "leave it out"
            )
    if options.rates.backbone_lr:
        say(UNFROZEN)
    return model


def _finish(
    options: "Options", run: Run, module: PretrainModule, last: Path, images: int, overwrite: bool
) -> None:
    """Save the model; say whether it has learnt to find patches."""
    prefix = "model." if module.average is None else "average."
    model = module.model.to("cpu")
    model.load_state_dict(read_weights(last, prefix=prefix))
    lines = [line for line in read_metrics(run.folder) if "val/found_iou" in line]
    last_line = lines[-1] if lines else {}
    scores = {name: round(value, 4) for name, value in last_line.items() if name.startswith("val/")}
    if scores and scores["val/found_iou"] < scores["val/floor"] + CHANCE:
        run.say(
            f"warning: patches are not found yet: their overlap is {scores['val/found_iou']:.2f}, and a "
            f"constant box has {scores['val/floor']:.2f}; train longer, or with a better backbone, first"
        )
    facts = {"verb": "pretrain", "images": images, "scores": scores, "options": dump(options)}
    sizes = (max(options.scales), options.longest)
    save_model(run.model, model.eval(), facts, sizes=sizes, overwrite=overwrite)
    run_page(run.folder).save(run.folder / "report.html")
    print(run.folder)
