"""The levels of a pruning run: one model folder for each sparsity, complete or absent (ours).

A level's folder is a Hugging Face folder with one more file, step.json, and appears under its name at once:
whoever finds it finds all of it. Removed heads and neurons are absent from its weights.
"""

import errno
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nonet.errors import RunFailed, UserError
from nonet.files import write_json
from nonet.training.hub import MANIFEST, save_folder
from nonet.training.model_card import ModelCard, Score

FACTS = "step.json"

LOAD = """
import cap_prune
from transformers import AutoTokenizer

model, tokenizer = cap_prune.load_model("FOLDER")
"""


def step_name(percent: float) -> str:
    """The folder of a structured level: step-05, step-10, step-97.5."""
    text = f"{percent:g}"
    return f"step-{text:0>2}"


def density_name(density: float) -> str:
    """The folder of an unstructured level: density-0.10, density-0.03, density-0.005."""
    return f"density-{max(f'{density:.2f}', f'{density:g}', key=len)}"


def complete(folder: Path) -> bool:
    """Whether this is a level's folder, which then lacks nothing."""
    return (folder / FACTS).is_file() and (folder / MANIFEST).is_file()


def read_facts(folder: Path) -> dict[str, Any]:
    """What a level says about itself in step.json.

    Raises:
        UserError: it is no level, or the file is damaged.
    """
    try:
        found = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"{folder}: not a level of a pruning run (no {FACTS} in it)") from None
    except ValueError as error:
        raise UserError(f"{folder / FACTS}: damaged: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{folder / FACTS}: damaged: not an object")
    return found


def levels_of(run: Path) -> list[Path]:
    """The complete levels of a run's folder, densest first."""
    found = [path.parent for path in run.glob(f"*-*/{FACTS}") if complete(path.parent)]

    def pruned(folder: Path) -> float:
        facts = read_facts(folder)
        return float(facts.get("percent") or 100 * (1 - float(facts.get("density") or 1)))

    return sorted(found, key=pruned)


def save_level(
    folder: Path,
    model: Any,
    tokenizer: Any,
    facts: Mapping[str, Any],
    *,
    options: str = "",
    overwrite: bool = False,
) -> Path:
    """Write a level whole or not at all.

    Args:
        folder: its place in the run.
        model: what is saved; transformers' `save_pretrained` is called.
        tokenizer: saved beside it.
        facts: for step.json: `percent` or `density`, `method`, `task`, `metrics`, `units`.
        options: of the run as YAML, for the card.
        overwrite: replace the folder if it is ours.

    Raises:
        RunFailed: the disk is full; earlier levels are untouched.
        UserError: the folder exists and is not ours.
    """
    return save_model(folder, _WithFacts(model, facts), tokenizer, card(facts, options), overwrite=overwrite)


def save_model(folder: Path, model: Any, tokenizer: Any, text: str, *, overwrite: bool = False) -> Path:
    """Write a model's folder with its card whole or not at all.

    Raises:
        RunFailed: the disk is full; what was there before is untouched.
        UserError: the folder exists and is not ours.
    """
    try:
        return save_folder(model, tokenizer, folder, text, overwrite=overwrite)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RunFailed(
            f"{folder}: not written, the disk is full; everything before is whole: make room, then resume"
        ) from error


def card(facts: Mapping[str, Any], options: str = "") -> str:
    """The card of a level."""
    base, task = facts.get("base"), str(facts.get("task", ""))
    if "percent" in facts:
        size = f"{facts['percent']:g} % of its heads and of its feed-forward neurons are removed"
    else:
        size = f"{100 * float(facts['density']):g} % of the weights of its encoder's matrices are kept"
    return ModelCard(
        title=f"{base or 'An encoder'}, pruned for {task}",
        what=f"An encoder fine-tuned on {task} while it was pruned ({facts.get('method')}): {size}.",
        tags=(tag_of(str(facts.get("kind", ""))), "pruned"),
        base=None if base is None else str(base),
        options=options,
        scores=scores_of(facts.get("metrics", {}), f"{task}, dev"),
        limits=("It was trained for this task; what else it still knows was not measured here.",),
        load=LOAD,
    ).text()


def scores_of(metrics: Mapping[str, Any], data: str) -> Sequence[Score]:
    """A model's measures for its card."""
    return [
        Score(name, float(value), data=data)
        for name, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def tag_of(kind: str) -> str:
    """The tag that hubs know a task's kind by."""
    return "question-answering" if kind == "qa" else "text-classification"


class _WithFacts:
    """A model that writes step.json beside itself."""

    def __init__(self, model: Any, facts: Mapping[str, Any]) -> None:
        self.model, self.facts = model, facts

    def save_pretrained(self, folder: Path, **options: Any) -> None:
        """Write both."""
        self.model.save_pretrained(folder, **options)
        write_json(folder / FACTS, dict(self.facts))
