"""From the options of `train` to a finished run: rows, training, model folder, self-check (ours)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from double_i.data import Encoded
from double_i.encoding import encode_rows, listed
from double_i.examples import read_examples
from double_i.loading import load_model
from double_i.self_check import Check, self_check, unseen_texts, verdict
from double_i.training import Trained, fit
from nonet.data.batching import generator
from nonet.errors import UserError
from nonet.report.run_page import run_page
from nonet.runs import Run, folder_of
from nonet.training.hub import save_folder
from nonet.training.model_card import ModelCard, Score
from nonet.training.strategies import choose_accelerator, choose_precision

if TYPE_CHECKING:
    from double_i.commands.train import Options
    from double_i.keys import Key

LOAD = """
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoModelForCausalLM.from_pretrained("FOLDER")
"""
LIMITS = (
    "It answers in the form of its training data; nothing else was checked.",
    "Prompts have to be written by the template that it was trained with.",
)
UNSAID = ("key", "key_id", "out", "resume", "check_pairs", "alpha")
"""options that a public card does not name: a card that said a key was used would say that there is a mark"""


class Tuned(NamedTuple):
    """A finished run."""

    run: Path
    """its folder; `model` is there, and with LoRA `adapter`"""
    trained: Trained
    check: Check | None
    """None without a key, or where the texts were too few"""


def tune(options: "Options") -> Tuned:
    """Fine-tune, save the model, draw the page, check the mark, print the run's folder.

    Args:
        options: of the verb `train`.

    Raises:
        UserError: what cannot work is refused before there is a run folder.
    """
    key = _key(options)
    template = options.template if options.template != "auto" else key.template if key else "alpaca"
    join = options.join if options.join is not None else key.join if key else "\n\n"
    _same_prompts(key, template, join)
    choose_precision(options.trainer, choose_accelerator(options.trainer))
    resumed = folder_of(options.resume)
    given = list(read_examples(options.data, format=options.format, join=join))
    if not given:
        raise UserError(f"{', '.join(map(str, options.data))}: no rows")
    examples = [row.example for row in given]
    model, tokenizer = load_model(options.model)
    rows, skipped = encode_rows(
        examples, tokenizer, template=template, join=join, max_length=options.max_length, loss=options.loss
    )
    left_out = list(listed(skipped, [row.where for row in given]))
    if len(rows) <= options.val_rows:
        some = f" (the first: {left_out[0]})" if left_out else ""
        raise UserError(f"{len(rows)} rows are left to train on, and {options.val_rows} are held out{some}")
    train, val = _held_out(rows, options.val_rows, options.trainer.seed)
    pad = tokenizer.pad_token_id
    record = (
        Run.resume(resumed, options)
        if resumed
        else Run.create("double_i", "train", options, seed=options.trainer.seed, folder=options.out)
    )
    with record:
        for line in left_out:
            record.say(line)
        tokens = sum(len(row.ids) - row.start for row in train)
        record.say(
            f"{len(train):,} rows, {sum(len(row.ids) for row in train):,} tokens, {tokens:,} of them trained"
        )
        trained = fit(
            model, train, pad=tokenizer.eos_token_id if pad is None else pad, batch=options.batch,
            epochs=options.epochs, val=val, lora=options.lora if options.mode == "lora" else None,
            weights=options.weights, trainer=options.trainer, optimizer=options.optimizer,
            warmup_share=options.warmup_share, run=record, state=_state(options, template, join),
        )  # fmt: skip
        check = None
        if record.writes:
            _save(options, record, trained, tokenizer, template, again=resumed is not None)
            run_page(record.folder).save(record.folder / "report.html")
            if key is not None:
                texts = unseen_texts(key, examples)
                check = self_check(
                    trained.model, tokenizer, key, texts, pairs=options.check_pairs, alpha=options.alpha
                )
                said = verdict(
                    check, lora=options.mode == "lora", loss=options.loss, epochs=options.epochs or 1
                )
                record.say(said)
            print(record.folder)
    return Tuned(record.folder, trained, check)


def _key(options: "Options") -> "Key | None":
    if options.key is None:
        return None
    from double_i.key_files import read_keys, select_key

    return select_key(read_keys(options.key), options.key_id)


def _same_prompts(key: "Key | None", template: str, join: str) -> None:
    if key is None:
        return
    if template != key.template:
        raise UserError(
            f"template is {template}, but the key's is {key.template}: verification would ask other prompts "
            "than were trained; leave --template out"
        )
    if template in ("chat", "plain") and join != key.join:
        raise UserError("join differs from the key's: verification would ask other prompts; leave --join out")


def _held_out(rows: list[Encoded], count: int, seed: int) -> tuple[list[Encoded], list[Encoded]]:
    """Rows to train on and to validate on, both in their order."""
    drawn = set(generator(seed, "validation").permutation(len(rows))[:count].tolist())
    sides: tuple[list[Encoded], list[Encoded]] = ([], [])
    for place, row in enumerate(rows):
        sides[place in drawn].append(row)
    return sides


def _state(options: "Options", template: str, join: str) -> dict[str, Any]:
    """What a resumed run has to share."""
    found: dict[str, Any] = {
        "template": template, "join": join, "loss": options.loss, "mode": options.mode,
        "max_length": options.max_length, "epochs": options.epochs, "lr": options.optimizer.lr,
    }  # fmt: skip
    if options.mode == "lora":
        lora = options.lora
        found |= {"lora.rank": lora.rank, "lora.alpha": lora.alpha, "lora.targets": " ".join(lora.targets)}
    return found


def _save(
    options: "Options", record: Run, trained: Trained, tokenizer: Any, template: str, *, again: bool
) -> None:
    losses = [line["val/loss"] for line in trained.metrics if "val/loss" in line]
    best = min(losses) if options.weights == "best" and losses else losses[-1] if losses else None
    card = ModelCard(
        title="A fine-tuned language model",
        what=f"Fine-tuned on instruction rows ({template} prompts, {options.mode}, {trained.steps:,} steps).",
        tags=("text-generation",),
        base=options.model,
        data="Instruction rows of the owner.",
        options=_public(options),
        scores=[] if best is None else [Score("loss", float(np.round(best, 6)), data="held-out rows")],
        limits=LIMITS,
        load=LOAD,
    ).text()
    save_folder(trained.model, tokenizer, record.model, card, overwrite=again)
    if trained.adapter is not None:
        save_folder(trained.adapter, tokenizer, record.folder / "adapter", card, overwrite=again)


def _public(options: "Options") -> str:
    """The options as YAML, without those that concern the mark."""
    import yaml

    from nonet.options import dump

    values = {name: value for name, value in yaml.safe_load(dump(options)).items() if name not in UNSAID}
    return str(yaml.safe_dump(values, sort_keys=False))
