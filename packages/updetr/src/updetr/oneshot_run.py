"""Training of one-shot detection (Dai et al. 2021, section 4.3).

The feature of the one crop is added to all N queries, which see each other; every object of the crop's class
is to be found, and none of another. There is one class, "object". Training starts from a pre-trained model
with its `patch2query`, which is what has learnt to ask.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from nonet.data.batching import RandomBatches
from nonet.data.labelled_boxes import listed
from nonet.errors import UserError
from nonet.options import dump
from nonet.report.run_page import run_page
from nonet.runs import folder_of
from nonet.training.checkpoints import read_weights
from nonet.training.data import StepData
from nonet.training.seeds import seed_all
from updetr.box_transforms import Augmentation
from updetr.detector import parameter_count
from updetr.file_notes import FileNotes
from updetr.finetune_data import Batch, images_of, targets_of
from updetr.labelled_data import read_labelled
from updetr.loading import load_into, new_detector, save_model
from updetr.model_folders import read_source
from updetr.module import SetModule
from updetr.oneshot_data import OneShotImages, collate, crops_of, only_classes, patches_of, seen_and_unseen
from updetr.query_patches import PatchDetector
from updetr.training import Say, config_of, fit, length, open_run, set_loss, start_backbone, suitable

if TYPE_CHECKING:
    from updetr.commands.oneshot import Options

LABEL = "object"


class OneShotModule(SetModule):
    """A detector that is told one crop, trained on all objects of its class; logs as `SetModule` does."""

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The loss of a batch."""
        features = self.model.patch_features(patches_of(batch))
        outputs = self.model(images_of(batch), features, group=self.model.detector.config.queries)
        return self.noted(self.loss(outputs, targets_of(batch)))


def train_oneshot(options: "Options") -> Path:
    """Train and save the model; prints the run's folder.

    Args:
        options: of the verb `oneshot`.

    Raises:
        UserError: what cannot work is refused before there is a run folder.
        RunFailed: a loss is not finite, or memory does not suffice.
    """
    resumed, notes = folder_of(options.resume), list[str]()
    labelled = read_labelled(options.data, voc_offset=options.voc_offset)
    notes += labelled.said()
    seen, unseen = seen_and_unseen(labelled.names, options.unseen)
    train = only_classes(labelled, seen)
    if not len(train):
        raise UserError(f"{options.data}: no image has an object of {listed(seen)}")
    crops = crops_of(train, options.min_crop, train)
    seed_all(options.trainer.seed)
    model = start_model(options, notes.append)
    trainer = suitable(options.trainer, notes.append)
    batches = RandomBatches(len(train), min(options.batch, len(train)), trainer.seed)
    trainer = length(trainer, options.epochs, batches)
    module = OneShotModule(
        model, set_loss(model.detector, options.loss), options.rates, steps=trainer.steps, ema=options.ema
    )
    state = {
        "batch": options.batch, "steps": trainer.steps, "lr": options.rates.lr,
        "backbone_lr": options.rates.backbone_lr, "unseen": list(unseen),
    }  # fmt: skip
    with open_run("oneshot train", options, resumed=resumed, seed=trainer.seed, state=state) as run:
        for note in notes:
            run.say(note)
        run.say(
            f"{len(train):,} images, {sum(map(len, crops.of_class)):,} crops of {len(seen)} classes; "
            f"never seen: {listed(unseen) or 'none'}; {trainer.steps:,} steps; "
            f"{parameter_count(model, trainable=True):,} weights learn"
        )
        augment = Augmentation(scales=options.scales, longest=options.longest, crop=0.0, flip=options.flip)
        images = OneShotImages(
            train, augment, crops, patch_size=options.patch_size, seed=trainer.seed, keep=options.keep_images
        )
        data = StepData(
            images, batches, collate, workers=trainer.workers, steps=trainer.steps,
            accumulate=trainer.accumulate,
        )  # fmt: skip
        last = fit(module, data, run, trainer, state=state, callbacks=[FileNotes(run, len(train))])
        if run.writes:
            prefix = "model." if options.ema is None else "average."
            model.to("cpu").load_state_dict(read_weights(last, prefix=prefix))
            facts = {"verb": "oneshot train", "seen": list(seen), "unseen": list(unseen),
                     "images": len(train), "options": dump(options)}  # fmt: skip
            sizes = (options.scored_scale, options.longest)
            save_model(run.model, model.eval(), facts, sizes=sizes, overwrite=resumed is not None)
            run_page(run.folder).save(run.folder / "report.html")
    print(run.folder)
    return run.folder


def start_model(options: "Options", say: Say) -> PatchDetector:
    """The model to begin with: one class, one patch for all queries, no reconstruction.

    Raises:
        UserError: no such model, or one of other sizes.
    """
    own = {"labels": (LABEL,), "patches": 1, "patch_tokens": 1, "reconstruct": False}
    if options.init is None:
        model = PatchDetector(new_detector(options.config(**own)))  # type: ignore[arg-type]
    else:
        source = read_source(options.init)
        config = config_of(options, source.config, options.init)
        model = PatchDetector(new_detector(replace(config, **own), source.backbone))  # type: ignore[arg-type]
        load_into(model, options.init, say=say)
    if model.detector.sigmoid:
        model.detector.freeze_choice()
    backbone = model.detector.backbone
    start_backbone(backbone, options, say, started=options.init is not None)
    try:
        backbone.freeze(options.frozen_stages if options.rates.backbone_lr else None)
    except ValueError as error:
        raise UserError(f"frozen_stages is {options.frozen_stages}: {error}") from None
    return model
