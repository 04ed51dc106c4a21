"""Training of a mask head on a frozen, fine-tuned detector (Carion et al. 2020, section 4.4).

The detector's queries are matched with the true segments by class and box, and only the matched ones get a
mask: the others have no say in the loss, and in the original are computed for nothing.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nonet.data.batching import RandomBatches
from nonet.errors import UserError
from nonet.options import dump
from nonet.report.run_page import run_page
from nonet.runs import folder_of
from nonet.training.checkpoints import read_weights
from nonet.training.data import StepData
from nonet.training.seeds import seed_all
from nonet.training.weight_files import read_safetensors
from updetr.batches import Targets
from updetr.detector import Detector, parameter_count
from updetr.file_notes import FileNotes
from updetr.finetune_data import Batch, images_of
from updetr.loading import load_model, save_model
from updetr.mask_head import Segmenter
from updetr.mask_losses import mask_losses
from updetr.matching import match
from updetr.model_folders import model_folder, read_source
from updetr.module import SetModule
from updetr.panoptic_data import SegmentedImages, collate, masks_of
from updetr.panoptic_files import PanopticData, read_panoptic
from updetr.query_patches import PatchDetector
from updetr.training import fit, length, open_run, suitable

if TYPE_CHECKING:
    from updetr.commands.panoptic import Options

MASKS = "masks.safetensors"
"""in a model folder, the mask head"""


class MaskModule(SetModule):
    """A mask head on a frozen detector; logs `train/focal`, `train/dice` and `train/last_iou`."""

    def __init__(self, model: Segmenter, rates: Any, *, steps: int) -> None:
        super().__init__(model, mask_losses, rates, steps=steps)  # type: ignore[arg-type]

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The loss of a batch."""
        memory, outputs, states = self.model.detect(images_of(batch))
        targets = Targets(batch["labels"], batch["boxes"], batch["counts"])
        pairs = match(outputs, targets)
        images, queries, boxes = pairs.images[0], pairs.queries[0], pairs.boxes[0]
        logits = self.model.masks(memory, states[images, queries], images)
        return self.noted(mask_losses(logits, masks_of(batch, boxes)))


def train_masks(options: "Options") -> Path:
    """Train, and save the detector with its mask head; prints the run's folder.

    Args:
        options: of the verb `panoptic`.

    Raises:
        UserError: what cannot work is refused before there is a run folder.
        RunFailed: a loss is not finite, or memory does not suffice.
    """
    resumed, notes = folder_of(options.resume), list[str]()
    assert options.model is not None
    source = read_source(options.model)
    data = read_data(options).with_names(source.config.labels)
    seed_all(options.trainer.seed)
    model = Segmenter(finetuned(options.model))
    trainer = suitable(options.trainer, notes.append)
    images = SegmentedImages(
        data, scales=options.scales, longest=options.longest, flip=options.flip, seed=trainer.seed
    )
    batches = RandomBatches(len(images), min(options.batch, len(images)), trainer.seed)
    trainer = length(trainer, options.epochs, batches)
    module = MaskModule(model, options.rates, steps=trainer.steps)
    state = {"batch": options.batch, "steps": trainer.steps, "lr": options.rates.lr}
    with open_run("panoptic train", options, resumed=resumed, seed=trainer.seed, state=state) as run:
        for note in notes:
            run.say(note)
        run.say(
            f"{len(images):,} images of {sum(data.things)} things and {len(data.things) - sum(data.things)} "
            f"kinds of stuff; {trainer.steps:,} steps; {parameter_count(model.head):,} weights learn"
        )
        step_data = StepData(
            images, batches, collate, workers=trainer.workers, steps=trainer.steps,
            accumulate=trainer.accumulate,
        )  # fmt: skip
        last = fit(module, step_data, run, trainer, state=state, callbacks=[FileNotes(run, len(images))])
        if run.writes:
            model.to("cpu").load_state_dict(read_weights(last, prefix="model."))
            facts = {"verb": "panoptic train", "things": list(data.things), "images": len(images),
                     "category_ids": list(data.category_ids), "options": dump(options)}  # fmt: skip
            sizes = (options.val_scale or max(options.scales), options.longest)
            save_segmenter(run.model, model, facts, sizes, overwrite=resumed is not None)
            run_page(run.folder).save(run.folder / "report.html")
    print(run.folder)
    return run.folder


def read_data(options: "Options") -> PanopticData:
    """The annotations that the options name.

    Raises:
        UserError: see `read_panoptic`.
    """
    assert options.data is not None
    return read_panoptic(options.data, options.images, options.segments)


def finetuned(name: str) -> Detector:
    """A detector that knows classes.

    Raises:
        UserError: no such model, or a pre-trained one.
    """
    detector = load_model(name)
    if isinstance(detector, PatchDetector):
        raise UserError(
            f"{name}: is pre-trained without labels and knows no class: fine-tune it on things and stuff "
            "first (`updetr panoptic boxes` writes their boxes)"
        )
    return detector


def save_segmenter(
    folder: Path, model: Segmenter, facts: dict[str, Any], sizes: tuple[int, int], *, overwrite: bool
) -> None:
    """The detector as a model folder, and the mask head beside its weights."""
    from safetensors.torch import save_file

    from nonet.files import replacing

    model.eval()
    save_model(folder, model.detector, facts, sizes=sizes, overwrite=overwrite)
    with replacing(folder / MASKS) as part:
        save_file({name: x.contiguous() for name, x in model.head.state_dict().items()}, part)


def load_segmenter(name: str) -> Segmenter:
    """A detector with its mask head, in evaluation mode.

    Raises:
        UserError: no such model, or one without a mask head.
    """
    path = model_folder(name) / MASKS
    if not path.is_file():
        raise UserError(f"{name}: has no mask head ({MASKS}): `updetr panoptic train` adds one")
    with torch.random.fork_rng(devices=[]):
        model = Segmenter(finetuned(name))
    found = read_safetensors(path)
    own = model.head.state_dict()
    if {key: x.shape for key, x in own.items()} != {key: x.shape for key, x in found.items()}:
        raise UserError(f"{path}: is the mask head of another detector")
    model.head.load_state_dict(found)
    return model.eval()
