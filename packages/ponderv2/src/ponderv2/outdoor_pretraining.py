"""Pre-training on streets: from the options of `pretrain` with a modality to a run folder (ours)."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from nonet.data.batching import RandomBatches
from nonet.options import dump
from nonet.runs import folder_of
from nonet.training.checkpoints import read_weights
from nonet.training.data import StepData
from nonet.training.seeds import seed_all
from ponderv2.batch_shares import check_shares
from ponderv2.outdoor_building import build_outdoor, open_streets
from ponderv2.outdoor_refusals import PRETRAINING, refuse_for_streets, refuse_held_out
from ponderv2.pretrain_module import PretrainModule
from ponderv2.pretraining import fit, length, open_run, state_of
from ponderv2.run_pictures import picture_page
from ponderv2.sync_norm import synced

if TYPE_CHECKING:
    from ponderv2.commands.pretrain import Options


def pretrain_outdoor(options: "Options") -> Path:
    """Pre-train on sweeps or cameras, save the model, its card and its page; prints the run's folder.

    Args:
        options: of the verb `pretrain`, with modality `lidar` or `camera`.

    Raises:
        UserError: what cannot work is refused before there is a run folder.
        RunFailed: a loss is not finite, or memory does not suffice.
    """
    refuse_for_streets(options, PRETRAINING)
    refuse_held_out(options)
    resumed = folder_of(options.resume)
    scenes = open_streets(options.data)
    count = len(scenes)
    batches = RandomBatches(count, min(options.batch, count), options.trainer.seed)
    check_shares(batches, options.trainer)
    trainer = length(options.trainer, options.epochs, batches)
    options.rates.check_length(trainer.steps)  # before a model is built, or its weights are downloaded
    seed_all(options.trainer.seed)
    parts = build_outdoor(options, scenes)
    state = state_of(options, trainer)
    run = open_run(options, resumed, state)
    with run:
        kinds = Counter(scene.dataset for scene in parts.scenes)
        frames = ", ".join(f"{number:,} of {name}" for name, number in kinds.items())
        run.say(f"frames: {frames}; modality {options.modality}; no label is looked at")
        for reason, number in parts.scenes.skipped.items():
            run.say(f"left out: {number:,} for {reason}")
        run.say(f"{sum(weight.numel() for weight in parts.model.parameters()):,} parameters")
        module = PretrainModule(
            synced(parts.model) if options.sync_norm else parts.model, options.rates,
            steps=trainer.steps, seed=trainer.seed,
            factor=lambda name: parts.factor(name.removeprefix("model.")),
        )  # fmt: skip
        data = StepData(
            parts.dataset, batches, parts.collate,
            workers=trainer.workers, steps=trainer.steps, accumulate=trainer.accumulate,
        )  # fmt: skip
        fit(module, data, run, trainer, state=state, unused=True)
        if run.writes:
            model = parts.model.to("cpu")
            model.load_state_dict(read_weights(run.checkpoints / "last.ckpt", prefix="model."))
            facts = {
                "verb": "pretrain", "modality": options.modality, "supervision": options.supervision,
                "scenes": dict(kinds), "options": dump(options),
            }  # fmt: skip
            parts.save(run.model, facts, overwrite=resumed is not None)
            picture_page(run.folder).save(run.folder / "report.html")
            print(run.folder)
    return run.folder
