"""From the options of `finetune` to a run folder with a detector, or to several and their mean (ours)."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonet.data.batching import OrderedBatches, RandomBatches
from nonet.data.labelled_boxes import LabelledImages
from nonet.errors import UserError
from nonet.files import write_json
from nonet.metrics.detection import coco_scores
from nonet.options import dump
from nonet.report.run_page import run_page
from nonet.runs import Run, folder_of
from nonet.training.checkpoints import read_weights
from nonet.training.data import StepData
from nonet.training.options import TrainerOptions
from nonet.training.seeds import seed_all
from nonet.training.strategies import choose_accelerator, device_count
from updetr.box_transforms import Augmentation
from updetr.detections import Detections
from updetr.detector import Detector, parameter_count
from updetr.evaluating import Evaluation, add_scores, evaluate
from updetr.file_notes import FileNotes
from updetr.finetune_data import EvaluationImages, TrainingImages, collate, collate_readable, crowded
from updetr.labelled_data import nothing_left_out, overlap, read_labelled
from updetr.loading import load_into, new_detector, save_model
from updetr.low_data import subset
from updetr.model_folders import read_source
from updetr.module import FinetuneModule
from updetr.seed_summary import finetune_seeds
from updetr.training import Say, config_of, fit, length, open_run, set_loss, start_backbone, suitable

if TYPE_CHECKING:
    from updetr.commands.finetune import Options

SCORES = "scores.json"
"""in a run's folder, what the weights that were kept reach on the validation data"""


def finetune(options: "Options") -> Path:
    """Fine-tune, once or with several seeds; prints the folder.

    Args:
        options: of the verb `finetune`.

    Returns:
        The run's folder; `model` is in it. Of several seeds the folder above their runs.

    Raises:
        UserError: what cannot work is refused before there is a run folder.
        RunFailed: a loss is not finite, or memory does not suffice.
    """
    folder = folder_of(options.resume)
    if options.seeds > 1 and device_count(options.trainer, choose_accelerator(options.trainer)) > 1:
        raise UserError("several seeds run one after the other on one device: set trainer.devices to 1")
    if options.seeds == 1 and folder is not None and any(folder.glob("seed-*/run.json")):
        raise UserError(f"{folder}: the runs of several seeds; give --seeds, too")
    if options.seeds > 1:
        return finetune_seeds(options, finetune_once, folder)
    return finetune_once(options, folder)


def finetune_once(options: "Options", resumed: Path | None) -> Path:
    """One run with one seed; from its last checkpoint on where `resumed` names its folder."""
    notes: list[str] = []
    train, val = read_sides(options, notes.append)
    seed_all(options.trainer.seed)
    detector = start_detector(options, train.names, notes.append)
    trainer = suitable(options.trainer, notes.append)
    for side in (train, val):
        warning = None if side is None else crowded(side, detector.config.queries)
        notes += [] if warning is None else [warning]
    batches = RandomBatches(len(train), min(options.batch, len(train)), trainer.seed)
    trainer = length(trainer, options.epochs, batches)
    if not trainer.validate_every and val is not None:
        every = round(options.validate_epochs * batches.steps(0) / trainer.accumulate)
        trainer = replace(trainer, validate_every=min(every, trainer.steps))
    module = FinetuneModule(
        detector, set_loss(detector, options.loss), options.rates, steps=trainer.steps, ema=options.ema,
        judge=None if val is None else ApJudge(val), keep=options.keep_features,
    )  # fmt: skip
    state = {
        "batch": options.batch, "steps": trainer.steps, "lr": options.rates.lr,
        "backbone_lr": options.rates.backbone_lr, "queries": detector.config.queries,
        "keep_features": bool(options.keep_features),
    }  # fmt: skip
    with open_run("finetune", options, resumed=resumed, seed=trainer.seed, state=state) as run:
        for note in notes:
            run.say(note)
        run.say(
            f"{len(train):,} images, {int(train.boxes_a_class().sum()):,} boxes of {len(train.names)} "
            f"classes; {trainer.steps:,} steps; {parameter_count(detector, trainable=True):,} weights learn"
        )
        files = FileNotes(run, len(train), 0 if val is None else len(val))
        last = fit(
            module, step_data(options, train, val, batches, trainer), run, trainer, state=state,
            monitor=None if val is None else "val/AP", callbacks=[files],
        )  # fmt: skip
        if run.writes:
            detector.to("cpu").load_state_dict(
                read_weights(last, prefix="model." if options.ema is None else "average.")
            )
            _finish(options, run, detector, train, val, files, overwrite=resumed is not None)
    return run.folder


class ApJudge:
    """COCO's AP, AP50 and AP75 of a validation, times 100.

    Args:
        truth: the data set.
    """

    def __init__(self, truth: LabelledImages) -> None:
        self.truth = truth

    def __call__(self, found: list[Detections]) -> dict[str, float]:
        """The numbers by name."""
        scores = coco_scores(self.truth.images, found, len(self.truth.names))  # type: ignore[arg-type]
        return {name: 100 * scores.values[name] for name in ("AP", "AP50", "AP75")}


def read_sides(options: "Options", say: Say) -> tuple[LabelledImages, LabelledImages | None]:
    """The images to train on, cut down as the options ask, and those to validate on.

    Raises:
        UserError: no data, classes of the validation data that the training data lack, or images that it
            names and that are not there.
    """
    names = None if options.init is None else read_source(options.init).config.labels
    train = read_labelled(options.data, drop_difficult=options.drop_difficult, voc_offset=options.voc_offset)
    if names is not None and names != train.names and set(names) == set(train.names):
        train = train.with_names(names)  # the order that the model's classes have
    for line in train.said():
        say(line)
    val = None
    if options.val is not None:
        offset = options.voc_offset
        val = read_labelled(options.val, names=train.names, voc_offset=offset, mend=False)
        nothing_left_out(val, options.val)
        shared = overlap([image.path for image in train.images], [image.path for image in val.images])
        if shared:
            say(
                f"warning: {len(shared)} validation images are training images, too, such as {shared[0][1]}: "
                "scores will be too good"
            )
    seed = options.trainer.seed if options.subset_seed is None else options.subset_seed
    part = subset(
        train, fraction=options.fraction, shots=options.shots, exact=options.shots_exact, seed=seed
    )  # fmt: skip
    lacking = [
        name for name, count in zip(part.names, part.boxes_a_class(), strict=True) if not count
    ]  # fmt: skip
    if lacking:
        say(f"warning: no box to train on of {', '.join(lacking[:20])}")
    return part, val


def start_detector(options: "Options", names: tuple[str, ...], say: Say) -> Detector:
    """The detector to begin with, its backbone frozen as far as the options say.

    Args:
        options: name the model to start from, or the sizes of a new one.
        names: of the classes.
        say: takes the account of its weights.

    Raises:
        UserError: no such model, or one of other sizes.
    """
    if options.init is None:
        detector = new_detector(options.config(labels=names, patches=1))
    else:
        source = read_source(options.init)
        free = ("queries",) if options.resize_queries else ()
        config = config_of(options, source.config, options.init, free=free)
        queries = options.size.queries if options.resize_queries else config.queries
        patches = config.patches if queries % config.patches == 0 else 1
        config = replace(config, labels=names, queries=queries, patches=patches)
        detector = new_detector(config, source.backbone)
        load_into(detector, options.init, resize_queries=options.resize_queries, say=say)
    if options.keep_features and detector.sigmoid:
        raise UserError(
            f"keep_features keeps the backbone's last map; {detector.config.arch} needs three: leave it out"
        )
    start_backbone(detector.backbone, options, say, started=options.init is not None)
    try:
        detector.backbone.freeze(options.frozen_stages if options.rates.backbone_lr else None)
    except ValueError as error:
        raise UserError(f"frozen_stages is {options.frozen_stages}: {error}") from None
    return detector


def step_data(
    options: "Options",
    train: LabelledImages,
    val: LabelledImages | None,
    batches: RandomBatches,
    trainer: TrainerOptions,
) -> StepData:
    """What the trainer trains and validates on."""
    augment = Augmentation(
        scales=options.scales, longest=options.longest, crop=options.crop, crop_scales=options.crop_scales,
        crop_sides=options.crop_sides, flip=options.flip, flip_vertical=options.flip_vertical,
    )  # fmt: skip
    held: tuple[Any, ...] = ()
    if val is not None:
        images = EvaluationImages(val, scale=options.scored_scale, longest=options.longest)
        held = (images, OrderedBatches(len(val), options.batch))
    return StepData(
        TrainingImages(train, augment, seed=trainer.seed, keep=options.keep_images), batches, collate, *held,
        val_collate=collate_readable, workers=trainer.workers, steps=trainer.steps,
        accumulate=trainer.accumulate,
    )  # fmt: skip


def _finish(
    options: "Options", run: Run, detector: Detector, train: LabelledImages, val: LabelledImages | None,
    files: FileNotes, *, overwrite: bool,
) -> None:  # fmt: skip
    """Score the weights that were kept, save the model, draw the page."""
    sizes = (options.scored_scale, options.longest)
    page, facts = run_page(run.folder), {"verb": "finetune", "images": len(train), "options": dump(options)}
    if val is not None:
        done: Evaluation = evaluate(
            detector, val, scale=sizes[0], longest=sizes[1], batch=options.batch,
            device=choose_accelerator(options.trainer),
        )  # fmt: skip
        files.scored(done.unreadable)
        record = {"scores": done.scores(), "classes": done.classes(), "unreadable": done.unreadable}
        write_json(run.folder / SCORES, record)
        facts["scores"] = done.scores()
        add_scores(page, done)
        run.say("validation:\n" + done.text())
    save_model(run.model, detector.cpu().eval(), facts, sizes=sizes, overwrite=overwrite)
    page.save(run.folder / "report.html")
    print(run.folder)
