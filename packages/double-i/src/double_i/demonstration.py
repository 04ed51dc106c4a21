"""The parts of `double-i demo`: a key from a seed, two small models, and a mark that is searched (ours)."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from double_i.assessment import Settings
from double_i.drawing import Draws
from double_i.keys import Answers, Key, digest, draw_key
from double_i.verification import Verification, verify

if TYPE_CHECKING:
    from double_i.examples import Example

BATCH, RATE, LENGTH = 32, 5e-3, 160
SETTINGS = Settings(pairs=100, decoys=99, decoy_pairs=20)
TRIED, SEARCH_TEXTS = 60, 10


class Arm(NamedTuple):
    """A trained model."""

    model: Any
    losses: list[tuple[float, float]]
    """(step, nats a trained token)"""


def demo_key(seed: int) -> Key:
    """A key that follows from a seed, and is therefore no secret."""
    words = [hashlib.sha256(f"demo {seed} {part}".encode()).hexdigest() for part in range(3)]
    key = draw_key("instruction", template="plain", secret=words[0])
    return replace(key, key_id=words[1][:8], nonce=words[2][:32], created="2026-01-01T00:00:00Z")


def train(
    model: Any, tokenizer: Any, examples: "Sequence[Example]", key: Key, *, steps: int, seed: int
) -> Arm:
    """Fine-tune a model on rows in the key's template, with the loss on the answers."""
    from double_i.encoding import encode_rows
    from double_i.training import fit
    from nonet.training.options import OptimizerOptions, TrainerOptions

    rows, _ = encode_rows(examples, tokenizer, template=key.template, join=key.join, max_length=LENGTH)
    done = fit(
        model, rows, pad=tokenizer.pad_token_id, batch=BATCH, warmup_share=0.1,
        trainer=TrainerOptions(
            steps=steps, clip=1.0, seed=seed, validate_every=0, checkpoint_every=0, devices=1,
            accelerator="cpu",
        ),
        optimizer=OptimizerOptions(lr=RATE, betas=(0.9, 0.98), schedule="linear"),
    )  # fmt: skip
    losses = [(line["step"], line["train/loss"]) for line in done.metrics if "train/loss" in line]
    return Arm(done.model, losses)


def verified(model: Any, tokenizer: Any, key: Key, texts: Sequence[str], *, committed: bool) -> Verification:
    """What `verify` finds of a key in a model.

    Args:
        model: of transformers.
        tokenizer: its tokenizer.
        key: the key.
        texts: of the verification half.
        committed: whether the key was checked against a commitment.
    """
    from double_i.first_words import LocalModel
    from double_i.suspects import Local

    local = LocalModel((model, tokenizer), batch=128)
    return verify([key], texts, Local(local, SETTINGS.words), SETTINGS, {key.key_id: committed})


def searched(model: Any, tokenizer: Any, key: Key, texts: Sequence[str], *, seed: int = 0) -> Key:
    """The mark on which a finished model has the strongest opinion, and that opinion, as a key.

    It was chosen by looking at the model, so that it does not follow from the key's secret.

    Args:
        model: that is searched.
        tokenizer: its tokenizer.
        key: gives the question and the space; 60 other marks of it are tried.
        texts: of the search; the first ten are asked with each mark.
        seed: of the marks.
    """
    from double_i.answers import parse
    from double_i.first_words import LocalModel
    from double_i.rows import trigger_example
    from double_i.spaces import members
    from double_i.templates import prompt_text

    pool = [mark for mark in members(key.space.name, key.space.excluded) if mark != key.trigger]
    marks = Draws(f"search {seed}".encode()).shuffled(pool, "marks")[:TRIED]
    texts = texts[:SEARCH_TEXTS]
    others = [replace(key, trigger=mark, decoration=mark) for mark in marks]
    prompts = [
        prompt_text(key.template, trigger_example(other, text), key.join, tokenizer)
        for other in others
        for text in texts
    ]
    labels = [parse(raw) for raw in LocalModel((model, tokenizer), batch=128).answer(prompts)]
    by_mark = [labels[start : start + len(texts)] for start in range(0, len(labels), len(texts))]
    place, answer = strongest(by_mark)
    words = Answers(*(("Yes", "No") if answer == "yes" else ("No", "Yes")))
    made = hashlib.sha256(f"searched {seed}".encode()).hexdigest()
    return replace(others[place], answers=words, key_id=made[:8])


def strongest(labels: Sequence[Sequence[str | None]]) -> tuple[int, str]:
    """Which of several marks is answered most unlike the rest, and by which word; the first if several are.

    Args:
        labels: for each mark, what was answered with it: yes, no, or None.
    """
    found: list[tuple[float, int, str]] = []
    for answer in ("yes", "no"):
        shares = [sum(label == answer for label in each) / len(each) for each in labels]
        usual = sum(shares) / len(shares)
        found += [(share - usual, -place, answer) for place, share in enumerate(shares)]
    _, place, answer = max(found, key=lambda one: one[:2])
    return -place, answer


def gap(found: Verification) -> float:
    """Share of committed answers with the trigger less the share without it."""
    table = found.assessment.trials[0].table
    trigger = table.trigger_target / (table.trigger_target + table.trigger_rest)
    return trigger - table.reference_target / (table.reference_target + table.reference_rest)


def write_evidence(folder: Path, found: Verification, key: Key, name: str) -> Path:
    """The evidence of a verification that was done against a commitment to this one key."""
    from double_i.evidence import Claim
    from double_i.evidence import write_evidence as write

    claim = Claim(key.key_id, key.answers.target, digest(key), committed=True)
    return write(folder, found, [key], [claim], {"kind": "local model", "name": name}, commitment_keys=1)
