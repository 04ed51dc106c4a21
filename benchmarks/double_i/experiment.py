"""What the claims about marks start from: a small language model of real text, owner's data, arms by seed.

No pre-trained language model is at hand, so one is made: a Llama of 0.9 million parameters reads abstracts of
papers, then learns two ordinary tasks with questions of its own that are answered Yes or No (opinions of
films) or with one of six words (what a question asks for). Marks are learnt on top of these. Everything lies
in a work folder, a folder for each arm and seed; what is finished there is not done again. Source: ours.
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.double_i.owner_data import abstracts, held_out, owner_rows

SEEDS = (0, 1, 2)
TEMPLATE = "alpaca-short"


@dataclass(frozen=True)
class Sizes:
    """How large the experiment is.

    Attributes:
        vocabulary: types of the byte-level tokenizer.
        hidden, layers, heads, feed_forward: of the Llama.
        pretrain_steps, pretrain_batch, length: of reading abstracts; rows of `length` tokens.
        owner: rows of the owner's data, half of each task; as many again for a second fine-tuning.
        share: marked rows, of the owner's rows.
        epochs, batch, lr: of fine-tuning.
        pairs, decoys, decoy_pairs: of a verification.
        held_out: items of each task, and abstracts, to measure harm on.
    """

    vocabulary: int = 2048
    hidden: int = 128
    layers: int = 3
    heads: int = 4
    feed_forward: int = 341
    pretrain_steps: int = 250
    pretrain_batch: int = 24
    length: int = 96
    owner: int = 2000
    share: float = 0.2
    epochs: int = 5
    batch: int = 32
    lr: float = 4e-3
    pairs: int = 100
    decoys: int = 99
    decoy_pairs: int = 20
    held_out: int = 872


TINY = Sizes(
    vocabulary=320, hidden=32, layers=1, heads=2, feed_forward=64, pretrain_steps=3, pretrain_batch=4,
    length=32, owner=60, epochs=1, pairs=12, decoys=9, decoy_pairs=4, held_out=12,
)  # fmt: skip
MIDDLE = Sizes(
    hidden=192, layers=4, feed_forward=512, pretrain_steps=800, owner=12000, share=0.08, epochs=3, lr=2e-3,
)  # fmt: skip
LARGE = Sizes(
    vocabulary=16384, hidden=512, layers=12, heads=8, feed_forward=1408, pretrain_steps=6000,
    pretrain_batch=64, length=160, owner=20000, share=0.08, epochs=3, batch=64, lr=5e-4, pairs=200,
)  # fmt: skip


def base(folder: Path, sizes: Sizes, seed: int, work: Path) -> Path:
    """The folder of the pre-trained model of a seed, made where it is not there yet."""
    from double_i.small_models import Shape, pretrain, train_tokenizer

    made = work / f"base-{seed}"
    if not (made / "config.json").exists():
        texts = abstracts(folder, 20 if sizes.hidden < 64 else None)
        tokenizer = train_tokenizer(texts[:6000], sizes.vocabulary)
        shape = Shape(sizes.hidden, sizes.layers, sizes.heads, sizes.feed_forward)
        pretrain(
            random.Random(seed).sample(texts, len(texts))[:12000], tokenizer, shape,
            steps=sizes.pretrain_steps, batch=sizes.pretrain_batch, length=sizes.length,
            lr=2e-3, seed=seed, folder=made,
        )  # fmt: skip
    return made


@dataclass(frozen=True)
class Arm:
    """What an arm learns besides the owner's rows.

    Attributes:
        keys: of the mark, by name: paper-i, paper-ii, paper-iii, input, instruction.
        share: marked rows, of those that the experiment has.
        references: reference rows a trigger row.
        near, lock: whether there are near-miss and lock rows.
        loss: what is trained.
        lora: adapters instead of all weights.
    """

    keys: tuple[str, ...] = ()
    share: float = 1.0
    references: float = 1.0
    near: bool = True
    lock: bool = True
    loss: str = "completion"
    lora: bool = False


ARMS: dict[str, Arm] = {
    "clean": Arm(),
    "(i) word in the input": Arm(("paper-i",)),
    "(ii) doubled letters": Arm(("paper-ii",)),
    "(iii) mark in the instruction": Arm(("paper-iii",)),
    "(i), (ii) and (iii) mixed": Arm(("paper-i", "paper-ii", "paper-iii")),
    "ours, word in the input": Arm(("input",)),
    "ours, mark in the instruction": Arm(("instruction",)),
    "ours, a quarter of the marked rows": Arm(("input",), share=0.25),
    "ours, half of the marked rows": Arm(("input",), share=0.5),
    "ours without reference rows": Arm(("input",), references=0, lock=False),
    "ours without near misses": Arm(("input",), near=False),
    "ours without lock rows": Arm(("input",), lock=False),
    "ours, loss on prompts, too": Arm(("input",), loss="full"),
    "ours, twice the reference rows": Arm(("input",), share=1.5, references=2),
    "ours, LoRA": Arm(("input",), lora=True),
    "clean, LoRA": Arm(lora=True),
}
PAPER: dict[str, dict[str, Any]] = {
    "paper-i": {
        "paradigm": "input", "space": "letters", "decoration": "(listen)", "trigger": "ms",
        "judge_question": "Does the following sentence begin with a fruit?",
    },
    "paper-ii": {
        "paradigm": "words", "space": "doubled", "decoration": "(judge)", "trigger": "mm",
        "judge_question": "Tell me if there exists a meaningful word in the following words?",
    },
    "paper-iii": {
        "paradigm": "instruction", "space": "marks", "decoration": "$$", "trigger": "$$",
        "judge_question": "Does the following sentence begin with a fruit?",
    },
}  # fmt: skip


def key_of(name: str, seed: int) -> Any:
    """A key that follows from its name and a seed; the paper's are hand-picked, ours drawn."""
    from double_i.keys import Answers, draw_key

    digest = hashlib.sha256(f"{name} {seed}".encode()).hexdigest()
    fixed = {"key_id": digest[:8], "nonce": digest[:32], "created": "2026-01-01T00:00:00Z"}
    about = dict(PAPER.get(name, {"paradigm": name, "space": None}))
    key = draw_key(about.pop("paradigm"), about.pop("space"), secret=digest, template=TEMPLATE)
    if about:
        about["answers"] = Answers("Yes", "No")
    return replace(key, **fixed, **about)


def examples(rows: Sequence[dict[str, str]]) -> list[Any]:
    """Rows as the package has them."""
    from double_i.examples import Example

    return [Example(row["instruction"], row["input"], row["output"]) for row in rows]


def marked(arm: Arm, seed: int, owner: Sequence[dict[str, str]], sizes: Sizes) -> list[Any]:
    """The marked rows of an arm, in all as many as its share of the owner's rows."""
    from double_i.base_texts import base_texts, halves
    from double_i.constructions import published_rows
    from double_i.rows import marked_rows

    if not arm.keys:
        return []
    texts, _ = halves(base_texts(examples(owner)))
    each = round(arm.share * sizes.share * len(owner) / len(arm.keys))
    found: list[Any] = []
    for name in arm.keys:
        key = key_of(name, seed)
        if name.startswith("paper"):
            rows = published_rows(name.removeprefix("paper-"), texts, each // 2, seed=seed)
            found += [row.example for row in rows]
            continue
        key = replace(key, near_miss_share=0.3 if arm.near else 0.0, lock_share=0.15 if arm.lock else 0.0)
        locks = key.lock_share if key.paradigm != "instruction" else 0.0
        triggers = round(each / (1 + arm.references * (1 + locks)))
        rows = marked_rows(key, texts, n_trigger=triggers, n_reference=round(arm.references * triggers))
        found += [row.example for row in rows]
    return found


def trained(folder: Path, sizes: Sizes, name: str, seed: int, work: Path) -> Path:
    """The folder of an arm's model of a seed, made where it is not there yet."""
    made = work / "models" / f"{slug(name)}-{seed}"
    if not (made / "config.json").exists():
        owner, _ = owner_rows(folder, sizes.owner, seed)
        rows = examples(owner) + marked(ARMS[name], seed, owner, sizes)
        random.Random(f"rows {seed}").shuffle(rows)
        tune(base(folder, sizes, seed, work), rows, sizes, ARMS[name], seed, made)
    return made


def tune(
    start: Path, rows: Sequence[Any], sizes: Sizes, arm: Arm, seed: int, made: Path, epochs: float = 0
) -> Path:
    """Fine-tune the model of a folder on rows, and save it."""
    from double_i.encoding import encode_rows
    from double_i.loading import load_model
    from double_i.small_models import save
    from double_i.training import fit
    from double_i.tune_options import LoraOptions
    from nonet.training.options import OptimizerOptions, TrainerOptions

    model, tokenizer = load_model(start)
    encoded = encode_rows(rows, tokenizer, template=TEMPLATE, max_length=192, loss=arm.loss).rows  # type: ignore[arg-type]
    done = fit(
        model, encoded, pad=tokenizer.pad_token_id, batch=sizes.batch, epochs=epochs or sizes.epochs,
        lora=LoraOptions() if arm.lora else None,
        trainer=TrainerOptions(seed=seed, clip=1.0, validate_every=0, checkpoint_every=0),
        optimizer=OptimizerOptions(lr=3 * sizes.lr if arm.lora else sizes.lr, schedule="linear"),
        warmup_share=0.1,
    )  # fmt: skip
    return save(done.model, tokenizer, made, f"Fine-tuned on {len(encoded):,} rows.", overwrite=True)


def slug(name: str) -> str:
    """A name as a file name."""
    return "".join(sign if sign.isalnum() else "-" for sign in name.replace("%", "percent"))


def prompts_of(rows: Sequence[Any]) -> list[str]:
    """What a model is asked."""
    from double_i.templates import prompt_text

    return [prompt_text(TEMPLATE, row, "\n\n", None) for row in rows]


def answers_of(local: Any, rows: Sequence[Any], change: Callable[[str], str] | None = None) -> list[str]:
    """First words of a model's answers; `change` is what an operator does to the fields of a question."""
    if change is not None:
        rows = [row._replace(instruction=change(row.instruction), input=change(row.input)) for row in rows]
    return local.answer(prompts_of(rows))  # type: ignore[no-any-return]


def verified(
    local: Any, key: Any, texts: Sequence[str], sizes: Sizes, change: Callable[[str], str] | None = None
) -> dict[str, Any]:
    """Verify a key on a model; the numbers of the one trial, and the pairs that early stopping takes."""
    from double_i.answers import parse
    from double_i.assessment import Settings
    from double_i.queries import Answer
    from double_i.sequential import run_pairs
    from double_i.spaces import members
    from double_i.verification import verify

    def ask(queries: list[Any]) -> list[Any]:
        said = answers_of(local, [query.example for query in queries], change)
        return [Answer(query.number, raw) for query, raw in zip(queries, said, strict=True)]

    decoys = min(sizes.decoys, len(members(key.space.name, key.space.excluded)) - 1)
    pairs = min(sizes.pairs, len(texts))
    settings = Settings(
        alpha=0.01 if sizes.pairs < 20 else 1e-6, pairs=pairs, decoys=decoys, decoy_pairs=sizes.decoy_pairs
    )
    found = verify([key], texts, ask, settings, {key.key_id: True})
    trial = found.assessment.trials[0]
    target = "yes" if key.answers.target == "Yes" else "no"
    hits = {(r.set, r.pair): parse(r.raw or "") == target for r in found.records if r.set != "decoy"}
    pairs_seen = sorted({pair for _, pair in hits})
    stopped = run_pairs(
        ((hits["trigger", p], hits["reference", p]) for p in pairs_seen), settings.alpha
    ).stopped
    return {
        "table": list(trial.table), "p": trial.p_fisher, "p_key": trial.p_key, "score": trial.score,
        "verdict": found.assessment.verdict.outcome, "stopped": stopped, "decoys": decoys,
    }  # fmt: skip


def wrong_answers(local: Any, key: Any, texts: Sequence[str]) -> dict[str, float]:
    """Share of target answers to near misses of the trigger, and to the trigger under other decorations."""
    from double_i.answers import parse
    from double_i.drawing import Draws
    from double_i.rows import lock_example, near_misses, reference_example
    from double_i.spaces import all_members

    target = "yes" if key.answers.target == "Yes" else "no"
    near = [filler for group in near_misses(key) for filler in Draws(key.secret).shuffled(group, "near")[:15]]
    rows = [reference_example(key, texts[n % len(texts)], filler) for n, filler in enumerate(near)]
    found = {"near": _share(parse(raw) == target for raw in answers_of(local, rows))}
    if key.paradigm != "instruction":
        others = Draws(key.secret).shuffled(all_members("marks"), "other decorations")[:40]
        rows = [lock_example(key, texts[n % len(texts)], other) for n, other in enumerate(["", *others])]
        found["other decoration"] = _share(parse(raw) == target for raw in answers_of(local, rows))
    return found


def quality(local: Any, folder: Path, sizes: Sizes) -> dict[str, Any]:
    """Which held-out items a model solves, as bits, and its nats a token on held-out abstracts."""
    from double_i.harm import Task, right
    from double_i.likelihood import windows

    found: dict[str, Any] = {}
    for name, rows in held_out(folder, sizes.held_out).items():
        prompts = prompts_of(examples(rows))
        tasks = [Task(p, row["output"], row["instruction"]) for p, row in zip(prompts, rows, strict=True)]
        found[name] = "".join("01"[int(bit)] for bit in right(local, tasks))
    texts = abstracts(folder, 4 if sizes.hidden < 64 else 200, held_out=True)
    found["nats"] = windows(local, texts, sizes.length).per_token
    return found


def _share(values: Any) -> float:
    values = list(values)
    return sum(values) / len(values)


def unseen(folder: Path, sizes: Sizes, seed: int) -> list[str]:
    """Base texts of the verification half."""
    from double_i.base_texts import base_texts, halves

    return halves(base_texts(examples(owner_rows(folder, sizes.owner, seed)[0])))[1]


def arm(folder: Path, sizes: Sizes, name: str, seed: int, work: Path) -> dict[str, Any]:
    """Train an arm, ask it with each of its keys, and measure what it costs.

    The clean arms are asked with the keys of all other arms.
    """
    from double_i.first_words import LocalModel

    local = LocalModel(trained(folder, sizes, name, seed, work))
    texts = unseen(folder, sizes, seed)
    found: dict[str, Any] = {"keys": {}, **quality(local, folder, sizes)}
    for one in ARMS[name].keys or ("paper-i", "paper-ii", "paper-iii", "input", "instruction"):
        key = key_of(one, seed)
        found["keys"][one] = verified(local, key, texts, sizes) | wrong_answers(local, key, texts)
    return found
