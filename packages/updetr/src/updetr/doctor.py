"""Why does a detector find nothing? Data, options, numbers, answers, learning by heart (ours)."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nonet.data.labelled_boxes import LabelledImages
from nonet.errors import UserError
from nonet.metrics.detection import percent
from nonet.runs import read_metrics, read_record
from nonet.training.devices import pick_device
from updetr.detector import Detector
from updetr.doctor_answers import answer_findings
from updetr.doctor_data import Finding, data_findings
from updetr.doctor_training import metric_findings, option_findings
from updetr.labelled_data import read_labelled
from updetr.loading import load_model
from updetr.low_data import subset
from updetr.model_folders import read_source
from updetr.overfitting import ENOUGH, overfit
from updetr.query_patches import PatchDetector

if TYPE_CHECKING:
    from updetr.commands.doctor import Options


def examine(options: "Options") -> Iterator[Finding]:
    """Look at everything that the options name; findings come as they are made.

    Args:
        options: of the verb `doctor`.

    Raises:
        UserError: no such run, model or data, or a model that knows no classes.
    """
    ran = _run_options(options.run)
    model = options.model or _model_of(options.run)
    source = options.data or ran.get("data")
    if source is None:
        raise UserError("name labelled images with data: the run does not say which it had")
    labelled = read_labelled(
        source,
        drop_difficult=bool(ran.get("drop_difficult", False)),
        voc_offset=options.voc_offset if options.voc_offset is not None else ran.get("voc_offset"),
    )
    seed = ran.get("subset_seed")
    labelled = subset(
        labelled, fraction=ran.get("fraction"), shots=ran.get("shots"), exact=bool(ran.get("shots_exact")),
        seed=int(ran.get("trainer", {}).get("seed", 0) if seed is None else seed),
    )  # fmt: skip
    detector, sizes = (None, (800, 1333)) if model is None else _load(model)
    scale, longest = options.scale or sizes[0], options.longest or sizes[1]
    names = None if detector is None else detector.config.labels
    queries = (
        detector.config.queries if detector is not None else int(ran.get("size", {}).get("queries", 100))
    )
    stride = detector.backbone.stride if detector is not None else 32
    yield from data_findings(labelled, names, queries=queries, stride=stride, scale=scale, longest=longest)
    if options.run is not None:
        yield from option_findings(ran, len(labelled))
        yield from metric_findings(read_metrics(options.run))
    if detector is None:
        yield Finding("look", "model", "the run has none yet: its answers are not looked at; resume it")
        return
    if not set(labelled.names) <= set(names or ()):
        return  # said already
    labelled = labelled.with_names(detector.config.labels)
    device = pick_device(options.device)
    yield from answer_findings(
        detector, _some(labelled, options.images), scale=scale, longest=longest, device=device
    )
    if options.overfit_steps:
        yield by_heart(
            detector, _easiest(labelled, options.overfit_images), scale=min(scale, options.overfit_scale),
            longest=longest, steps=options.overfit_steps, device=device, say=options_say(options),
        )  # fmt: skip


def by_heart(
    detector: Detector, labelled: LabelledImages, *, scale: int, longest: int, steps: int, device: str,
    say: Callable[[str], None],
) -> Finding:  # fmt: skip
    """Whether the detector, trained on a few images, comes to know them."""
    done = overfit(
        detector, labelled, scale=scale, longest=longest, steps=steps, device=device,
        say=lambda now: say(f"by heart: step {now.step}, loss {now.loss:.2f}, AP50 {percent(now.ap50)}"),
    )  # fmt: skip
    text = f"{len(labelled)} images, AP50 {percent(done.ap50)} after {done.step} steps"
    if done.ap50 > ENOUGH:
        return Finding("fine", "by heart", f"{text}: labels, losses and model can work")
    if done.ap50 > 0.3:
        return Finding("look", "by heart", f"{text}: it learns, slowly; try more overfit_steps")
    return Finding(
        "wrong", "by heart",
        f"{text}: it cannot learn even these: are boxes and images of one size, is the backbone any good?",
    )  # fmt: skip


def options_say(options: "Options") -> Callable[[str], None]:
    """Where progress goes: standard error, unless it is to be quiet."""
    import sys

    return (lambda _: None) if options.quiet else (lambda text: print(text, file=sys.stderr))


def _run_options(run: Path | None) -> dict[str, Any]:
    """The options of a run of `finetune`, or none."""
    if run is None:
        return {}
    record = read_record(run)
    if record["package"] != "updetr" or record["verb"] != "finetune":
        raise UserError(f"{run}: a run of {record['package']} {record['verb']}, not of updetr finetune")
    try:
        found = yaml.safe_load((run / "options.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{run / 'options.yaml'}: cannot be read ({' '.join(str(error).split())})") from None
    if not isinstance(found, Mapping):
        raise UserError(f"{run / 'options.yaml'}: holds no options")
    return dict(found)


def _model_of(run: Path | None) -> str | None:
    return str(run / "model") if run is not None and (run / "model" / "config.json").is_file() else None


def _load(model: str) -> tuple[Detector, tuple[int, int]]:
    found = load_model(model)
    if isinstance(found, PatchDetector):
        raise UserError(f"{model}: is pre-trained without labels and knows no class: look at it with locate")
    return found, read_source(model).sizes


def _some(labelled: LabelledImages, count: int) -> LabelledImages:
    """Images that have boxes, from all over the data set, at most so many."""
    having = [place for place, image in enumerate(labelled.images) if (~image.crowd).any()]
    step = max(1, len(having) // count)
    return dataclasses.replace(labelled, images=[labelled.images[place] for place in having[::step][:count]])


def _easiest(labelled: LabelledImages, count: int) -> LabelledImages:
    """The images with the fewest boxes, at least one."""
    boxes = [int((~image.crowd).sum()) for image in labelled.images]
    having = [place for place, number in enumerate(boxes) if number]
    return labelled.take(sorted(having, key=lambda place: (boxes[place], place))[:count])
