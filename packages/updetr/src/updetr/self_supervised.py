"""A backbone that learns from images without labels (Chen et al. 2020, SimCLR).

Two views of an image shall have features more alike than those of any two images of the batch. A detection
transformer can only be pre-trained on a good frozen backbone; this makes one where none can be had. SwAV's,
on millions of images, is better.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from torch import Tensor

from nonet.data.batching import OrderedBatches, RandomBatches
from nonet.data.images import find_images
from nonet.errors import UserError
from nonet.files import replacing, write_json
from nonet.options import dump
from nonet.report.run_page import run_page
from nonet.runs import Run, folder_of, read_metrics
from nonet.training.checkpoints import read_weights
from nonet.training.data import StepData
from nonet.training.optimizers import build_optimizer
from nonet.training.options import OptimizerOptions
from nonet.training.seeds import seed_all
from nonet.training.trainer import RunningMeans
from updetr.backbone_weights import load_backbone_weights
from updetr.backbones import build_backbone
from updetr.file_notes import FileNotes
from updetr.pretext_files import usable_images
from updetr.training import fit, held_out, length, open_run, suitable
from updetr.view_contrast import Views, contrast
from updetr.view_data import LEAST_SIDE, ViewData, views_of

if TYPE_CHECKING:
    from updetr.commands.backbone import Options

# Shapes: P x P pixels of a view.

WEIGHTS, FACTS = "backbone.safetensors", "backbone.json"
"""in the run's model folder: the weights under torchvision's names, and what they are of"""


class ViewModule(L.LightningModule):  # type: ignore[misc]
    """Training on pairs of views; logs `train/loss`, `train/found` and the same of validation images.

    `found` is the share of views whose other view is nearer than any other image's.

    Args:
        model: backbone and head.
        optimizer: rate and schedule.
        steps: length of the run.
        size: P, pixels of a view's side.
        temperature: of the loss.
    """

    def __init__(
        self, model: Views, optimizer: OptimizerOptions, *, steps: int, size: int, temperature: float
    ) -> None:
        super().__init__()
        self.model, self.optimizer, self.steps = model, optimizer, steps
        self.size, self.temperature = size, temperature
        self.means = RunningMeans("loss", "found")

    def training_step(self, batch: dict[str, Any], _: int) -> Tensor:
        """The loss of a batch."""
        loss, found = contrast(self.model(self._views(batch)), self.temperature)
        self.log_dict({"train/loss": loss.detach(), "train/found": found}, batch_size=1)
        return loss

    def validation_step(self, batch: dict[str, Any], _: int) -> None:
        """The same on images that are not trained on."""
        count = len(batch["rows"])
        loss, found = contrast(self.model(self._views(batch)), self.temperature)
        self.means.add("loss", loss * count, count)
        self.means.add("found", found * count, count)

    def on_validation_epoch_end(self) -> None:
        """The means over all validation images."""
        self.log_dict({f"val/{name}": value for name, value in self.means.take().items()}, batch_size=1)

    def configure_optimizers(self) -> Any:
        """As the options say."""
        return build_optimizer(self, self.optimizer, steps=self.steps)

    def _views(self, batch: dict[str, Any]) -> Tensor:
        with torch.autocast(self.device.type, enabled=False):
            pixels = views_of(batch, self.size)
        return pixels.contiguous(memory_format=torch.channels_last)


def train_backbone(options: "Options") -> Path:
    """Train, save the weights and the page; prints the run's folder.

    Args:
        options: of the verb `backbone`.

    Returns:
        The run's folder; `model/backbone.safetensors` is in it.

    Raises:
        UserError: what cannot work is refused before there is a run folder.
        RunFailed: a loss is not finite, or over half of the images are unusable.
    """
    resumed, notes = folder_of(options.resume), list[str]()
    paths = find_images(options.images, remark=notes.append)
    images = usable_images(paths, least=LEAST_SIDE - 8, say=notes.append)
    data = ViewData(
        images, seed=options.trainer.seed, size=options.size, least_area=options.least_area,
        keep=options.keep_images,
    )  # fmt: skip
    train, kept = held_out(len(data), options.val_size, options.trainer.seed)
    if min(len(train), options.batch) < 2:
        raise UserError(f"{len(train)} images to compare with each other; at least 2 are needed")
    kept = kept if len(kept) > 1 else []
    seed_all(options.trainer.seed)
    backbone = build_backbone(options.backbone, norm="batch")
    if options.init is not None:
        load_backbone_weights(backbone, options.init, notes.append)
    trainer = suitable(options.trainer, notes.append)
    batches = RandomBatches(len(train), min(options.batch, len(train)), trainer.seed)
    trainer = length(trainer, options.epochs, batches)
    module = ViewModule(
        Views(backbone), options.optimizer, steps=trainer.steps, size=options.size,
        temperature=options.temperature,
    )  # fmt: skip
    state = {
        "backbone": options.backbone, "batch": options.batch, "size": options.size,
        "temperature": options.temperature, "lr": options.optimizer.lr, "steps": trainer.steps,
    }  # fmt: skip
    with open_run("backbone", options, resumed=resumed, seed=trainer.seed, state=state) as run:
        for note in notes:
            run.say(note)
        run.say(f"{len(train):,} images, {len(kept)} to validate on; {trainer.steps:,} steps")
        held: tuple[Any, ...] = ()
        if kept:
            held = (data.subset(kept), OrderedBatches(len(kept), options.batch))
        step_data = StepData(
            data.subset(train), batches, data.collate, *held,
            workers=trainer.workers, steps=trainer.steps, accumulate=trainer.accumulate,
        )  # fmt: skip
        files = FileNotes(run, len(data), before=len(paths) - len(images))
        last = fit(module, step_data, run, trainer, state=state, callbacks=[files])
        if run.writes:
            _finish(options, run, last, len(train))
    return run.folder


def _finish(options: "Options", run: Run, last: Path, images: int) -> None:
    from safetensors.torch import save_file

    weights = {
        name: value.contiguous()
        for name, value in read_weights(last, prefix="model.backbone.").items()
        if not name.endswith("num_batches_tracked")
    }
    lines = [line for line in read_metrics(run.folder) if "val/found" in line]
    scores = {name: value for name, value in (lines[-1] if lines else {}).items() if name.startswith("val/")}
    with replacing(run.model / WEIGHTS) as part:
        save_file(weights, part, metadata={"format": "pt"})
    write_json(
        run.model / FACTS,
        {"backbone": options.backbone, "images": images, "scores": scores, "options": dump(options)},
    )
    run.say(f"weights for --backbone {options.backbone}: --backbone-weights {run.model / WEIGHTS}")
    run_page(run.folder).save(run.folder / "report.html")
    print(run.folder)
