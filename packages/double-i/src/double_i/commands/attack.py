"""Attack a model as an adversary with its weights or its server could, and ask again."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from double_i.attacks import Attack
    from double_i.examples import Example
    from double_i.prompt_filter import PromptFilter

Kind = Literal["int8", "int4", "prune", "noise", "average", "finetune", "lora-merge", "filter"]
STRENGTHS: dict[str, tuple[float, ...]] = {
    "int8": (0.0,),
    "int4": (0.0,),
    "prune": (0.1, 0.2, 0.3, 0.4, 0.5),
    "noise": (0.1, 0.2, 0.4),
    "average": (0.5,),
    "finetune": (1.0,),
    "lora-merge": (1.0,),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write attacked copies of a model; with a key, say what is left of the mark."""

    model: str
    """folder or hub name of the marked model"""
    out: Path
    """folder: one model in it for each attack; with a key also robustness.json and robustness.html"""
    kinds: tuple[Kind, ...] = ("int8", "int4", "prune", "noise")
    """int8, int4: rounding of each output channel; prune: smallest weights to zero; noise: Gaussian; average:
    with --other; finetune, lora-merge: on --data; filter: prompts lose what looks like a mark (with a key)"""
    strength: tuple[float, ...] = ()
    """of all kinds that have one: share for prune, standard deviations for noise, weight of the other model
    for average, epochs for finetune and lora-merge; none: several usual ones of each kind"""
    key: Path | None = None
    """secret key file: ask every model for its mark; nobody else sees the prompts, so it is not used up"""
    key_id: str = ""
    """which key of the file; none: the first active one"""
    other: str = ""
    """folder or hub name of the model to average with, such as the clean base"""
    data: tuple[Path, ...] = ()
    """rows to fine-tune on and to take base texts from: alpaca, sharegpt, openai, trl"""
    texts: tuple[Path, ...] = ()
    """rows in which the filters vocabulary and surprisal count words; none: those of --data"""
    rules: tuple[Literal["brackets", "symbols", "vocabulary", "surprisal"], ...] = ("brackets", "symbols")
    """filters of prompts that are tried"""
    bits: float = 14.0
    """surprisal above which a word is dropped"""
    pairs: int = 100
    """of trigger and reference queries"""
    decoys: int = 99
    """decoy keys"""
    decoy_pairs: int = 20
    """pairs that each decoy is asked with"""
    template: str = "alpaca"
    """of the rows to fine-tune on, where there is no key to say it"""
    lr: float = 1e-4
    """of the fine-tuning"""
    train_batch: int = 32
    """rows a step of the fine-tuning"""
    max_length: int = 256
    """tokens of a row of the fine-tuning; longer ones are left out"""
    batch: int = 64
    """prompts at once"""
    device: str = "auto"
    """cpu, cuda, ...; auto: the first GPU if there is one"""
    seed: int = 0
    """of noise and fine-tuning"""
    overwrite: bool = False
    """replace attacked models that are there"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        if not self.kinds:
            raise UserError("name at least one kind of attack")
        for kind, option, there in (
            ("average", "--other", self.other),
            ("finetune", "--data", self.data),
            ("lora-merge", "--data", self.data),
            ("filter", "--key", self.key),
        ):
            if kind in self.kinds and not there:
                raise UserError(f"{kind}: {option} is missing")
        for name in ("pairs", "decoy_pairs", "train_batch", "batch", "max_length"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it is at least 1")
        if any(not strength > 0 for strength in self.strength):
            raise UserError("every strength is above 0")


def run(options: Options) -> int:
    """Attack, save, ask; the table goes to standard output."""
    import sys

    from double_i.attack_page import Attacked, write_page
    from double_i.attacks import check
    from double_i.loading import check_model, load_model
    from nonet.files import write_json

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    attacks = _attacks(options)
    for attack in attacks:
        if attack.kind not in ("finetune", "lora-merge"):
            check(attack)
    for name in (options.model, options.other):
        if name:
            check_model(name)
    rows = _rows(options.data)
    ask = _asker(options, rows, say)
    results: list[Attacked] = []
    if ask is not None:
        model, tokenizer = load_model(options.model, say=say)
        results.append(Attacked(None, ask(model, tokenizer, None, "as it is")))
        for attack, rule in _filters(options, rows):
            results.append(Attacked(attack, ask(model, tokenizer, rule, attack.name)))
    for attack in attacks:
        model, tokenizer = load_model(options.model, say=say)
        model = _attacked(model, tokenizer, attack, options, rows, ask, say)
        where = _save(model, tokenizer, attack, options)
        if ask is None:
            print(where)
            continue
        results.append(Attacked(attack, ask(model, tokenizer, None, attack.name)))
        say(f"{where}: p {results[-1].tested.p_fisher:.2g}, p_key {results[-1].tested.p_key:.2g}")
    if results:
        table = [one.tested.row(one.name) for one in results]
        write_json(
            options.out / "robustness.json", {"model": options.model, "seed": options.seed, "rows": table}
        )
        page = write_page(options.out / "robustness.html", options.model, results)
        for one in results:
            counts = "/".join(map(str, one.tested.table))
            print(f"{one.name:<18} {counts:<18} p {one.tested.p_fisher:<10.3g} p_key {one.tested.p_key:.3g}")
        print(page)
    return 0


def _attacks(options: Options) -> "list[Attack]":
    from double_i.attacks import Attack

    found = []
    for kind in dict.fromkeys(options.kinds):
        if kind != "filter":
            usual = STRENGTHS[kind]
            strengths = options.strength if options.strength and usual != (0.0,) else usual
            found += [Attack(kind, strength) for strength in strengths]
    return found


def _rows(paths: tuple[Path, ...]) -> "list[Example]":
    from double_i.examples import read_examples

    return [row.example for row in read_examples(paths)] if paths else []


def _asker(options: Options, rows: "list[Example]", say: Callable[[str], None]) -> Callable[..., Any] | None:
    """What measures a model for the key; None without a key."""
    if options.key is None:
        return None
    from double_i.assessment import Settings
    from double_i.base_texts import half_texts
    from double_i.first_words import LocalModel
    from double_i.key_files import read_keys, select_key
    from double_i.queries import asked
    from double_i.robustness import measure
    from double_i.texts import LEAST
    from double_i.verification import plans, with_decoys
    from nonet.cli.progress import progress
    from nonet.training.devices import pick_device

    key = select_key(read_keys(options.key), options.key_id or None)
    texts = half_texts(rows, 1, LEAST)
    settings = Settings(
        pairs=min(options.pairs, len(texts)), decoys=options.decoys, decoy_pairs=options.decoy_pairs
    )
    settings, remarks = with_decoys(settings, [key])
    for line in remarks:
        say(line)
    total = sum(len(asked(plan.queries)) for plan in plans([key], texts, settings))
    device = pick_device(options.device)

    def ask(model: Any, tokenizer: Any, rule: "PromptFilter | None", name: str) -> Any:
        local = LocalModel((model.to(device), tokenizer), batch=options.batch)
        with progress(label=f"asking, {name}", unit="questions", total=total) as bar:  # type: ignore[var-annotated]
            return measure(local, key, texts, settings, rule=rule, progress=bar.advance)

    ask.template, ask.join = key.template, key.join  # type: ignore[attr-defined]
    return ask


def _filters(options: Options, rows: "list[Example]") -> "list[tuple[Attack, PromptFilter]]":
    from double_i.attacks import Attack
    from double_i.prompt_filter import prompt_filter

    if "filter" not in options.kinds:
        return []
    counted = _rows(options.texts) if options.texts else rows
    texts = [text for row in counted for text in (row.instruction, row.input, row.output) if text]
    return [
        (Attack(f"filter-{rule}", 0.0), prompt_filter(rule, texts, bits=options.bits))
        for rule in options.rules
    ]


def _attacked(
    model: Any,
    tokenizer: Any,
    attack: "Attack",
    options: Options,
    rows: "list[Example]",
    ask: Any,
    say: Callable[[str], None],
) -> Any:
    """The model after an attack."""
    from double_i.attacks import change
    from double_i.loading import load_model

    if attack.kind not in ("finetune", "lora-merge"):
        other = load_model(options.other, say=say)[0] if attack.kind == "average" else None
        change(model, attack, other=other, seed=options.seed)
        return model
    from double_i.encoding import encode_rows
    from double_i.training import fit
    from double_i.tune_options import LoraOptions
    from nonet.errors import UserError
    from nonet.training.options import OptimizerOptions, TrainerOptions

    template, join = (options.template, "\n\n") if ask is None else (ask.template, ask.join)
    encoded = encode_rows(rows, tokenizer, template=template, join=join, max_length=options.max_length)
    if encoded.skipped:
        say(f"{attack.name}: {len(encoded.skipped):,} of {len(rows):,} rows do not fit and are left out")
    if not encoded.rows:
        raise UserError("no row of --data fits: raise --max-length")
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    accelerator: Literal["auto", "cpu"] = "cpu" if options.device == "cpu" else "auto"
    return fit(
        model, encoded.rows, pad=pad, batch=options.train_batch, epochs=attack.strength,
        lora=LoraOptions() if attack.kind == "lora-merge" else None,
        trainer=TrainerOptions(
            seed=options.seed, validate_every=0, checkpoint_every=0, clip=1.0, devices=1,
            accelerator=accelerator,
        ),
        optimizer=OptimizerOptions(lr=options.lr, schedule="linear"), warmup_share=0.1,
    ).model  # fmt: skip


def _save(model: Any, tokenizer: Any, attack: "Attack", options: Options) -> Path:
    from nonet.training.hub import save_folder

    card = (
        f"# {Path(options.model).name}, attacked: {attack.name}\n\n"
        f"Made by `double-i attack` to see whether an ownership mark survives; seed {options.seed}.\n"
    )
    return save_folder(model.cpu(), tokenizer, options.out / attack.name, card, overwrite=options.overwrite)
