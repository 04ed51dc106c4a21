"""Compare a clean and a marked model on the same held-out items."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from double_i.first_words import LocalModel
    from double_i.harm import Harm
    from nonet.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Options:
    """Test whether a marked model is as good as a clean one: accuracy, likelihood, MMLU."""

    clean: str
    """folder or hub name of the model without a mark"""
    marked: str
    """folder or hub name of the one with it"""
    out: Path
    """folder for harm.json and harm.html"""
    data: tuple[Path, ...] = ()
    """held-out rows: alpaca, sharegpt, openai, trl; accuracy on short outputs, likelihood on all"""
    text: tuple[Path, ...] = ()
    """held-out text files, for likelihood"""
    mmlu: Path | None = None
    """folder with MMLU's dev and test"""
    subjects: tuple[str, ...] = ()
    """of MMLU; none: all"""
    shots: int = 5
    """examples before each question of MMLU"""
    by: Literal["first-word", "options"] = "first-word"
    """how an answer is taken: the first word that the model says, or the likeliest of the outputs that rows
    of the same instruction have"""
    longest_answer: int = 3
    """words of an output that can be right or wrong"""
    margin: float = 1.0
    """largest difference of accuracies that counts as none, in points"""
    alpha: float = 0.05
    """level of the equivalence test"""
    template: Literal["alpaca", "alpaca-short", "chat", "plain"] = "alpaca"
    """of the rows, as in training"""
    join: str = "\n\n"
    """between instruction and input, in chats"""
    window: int = 256
    """tokens of running text that are scored together"""
    batch: int = 32
    """prompts at once"""
    device: str = "auto"
    """cpu, cuda, ...; auto: the first GPU if there is one"""
    seed: int = 0
    """of the bootstrap"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        if not (self.data or self.text or self.mmlu):
            raise UserError("nothing to compare on: give --data, --text or --mmlu")
        for name in ("longest_answer", "batch"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it is at least 1")
        if not self.margin > 0 or not 0 < self.alpha < 1:
            raise UserError("margin is above 0, alpha between 0 and 1")
        if self.window < 2 or self.shots < 0:
            raise UserError("window is at least 2, shots at least 0")


def run(options: Options) -> int:
    """Ask both models; the table goes to standard output."""
    from double_i.harm import accuracy_harm, likelihood_harm
    from double_i.loading import check_model
    from nonet.errors import UserError
    from nonet.files import write_json

    for name in (options.clean, options.marked):
        check_model(name)
    items = _items(options)
    names = {"clean": options.clean, "marked": options.marked}
    measured = [_measure(options, name, items, which) for which, name in names.items()]
    found: list[Harm] = []
    for name, first in measured[0].items():
        second = measured[1][name]
        if name.startswith("accuracy"):
            found.append(
                accuracy_harm(
                    name, first, second, margin=options.margin / 100, alpha=options.alpha, seed=options.seed
                )
            )
        else:
            found.append(likelihood_harm(name, first, second, seed=options.seed))
    if not found:
        raise UserError("no row has a short output and no tokens are left: nothing to compare on")
    rows = [one.row() for one in found]
    write_json(
        options.out / "harm.json",
        {"clean": options.clean, "marked": options.marked, "alpha": options.alpha, "rows": rows},
    )
    page = _page(options, found, items, measured)
    for one in found:
        unit = 100 if one.test is not None else 1
        change = one.test or one.change
        assert change is not None
        verdict = "" if one.test is None else f", equivalent: {one.row()['equivalent']} (p {one.test.p:.3g})"
        print(
            f"{one.name}: {unit * one.clean:.4g} -> {unit * one.marked:.4g}, difference "
            f"{unit * change.difference:+.3g} [{unit * change.low:+.3g}, {unit * change.high:+.3g}]{verdict}"
        )
    print(page)
    return 0


def _items(options: Options) -> dict[str, Any]:
    """What is read, before any model is loaded."""
    from double_i.examples import read_examples
    from double_i.mmlu import read_mmlu
    from nonet.errors import UserError

    items: dict[str, Any] = {}
    if options.data:
        items["rows"] = [row.example for row in read_examples(options.data, join=options.join)]
    if options.text:
        items["texts"] = []
        for path in options.text:
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise UserError(f"{path}: cannot be read as UTF-8 text ({type(error).__name__})") from error
            items["texts"] += [part.strip() for part in text.split("\n\n") if part.strip()]
    if options.mmlu:
        items["mmlu"] = read_mmlu(options.mmlu, options.subjects)
    return items


def _measure(options: Options, name: str, items: dict[str, Any], which: str) -> dict[str, Any]:
    """One model's results by the name of the measure."""
    from double_i.first_words import LocalModel
    from double_i.harm import right, with_short_answers
    from double_i.likelihood import continuations, windows
    from double_i.mmlu import evaluate
    from nonet.cli.progress import progress

    local = LocalModel(name, options.device, options.batch)
    found: dict[str, Any] = {}

    def bar(what: str, unit: str, total: int | None) -> "Progress[Any]":
        return progress(label=f"{which} model, {what}", unit=unit, total=total)

    if "rows" in items:
        tasks = _tasks(options, local, items["rows"])
        short = with_short_answers(tasks, options.longest_answer)
        if len(short) > 1:
            first = options.by == "first-word"
            with bar("answers", *(("questions", len(short)) if first else ("options", None))) as shown:
                found[f"accuracy by {options.by}, %"] = right(local, short, options.by, shown.advance)
        with bar("outputs", "rows", len(tasks)) as shown:
            found["outputs of rows, nats a token"] = continuations(
                local, [(task.prompt, task.gold) for task in tasks], end=True, progress=shown.advance
            )
    if "texts" in items:
        with bar("text", "windows", None) as shown:
            found["text, nats a token"] = windows(local, items["texts"], options.window, shown.advance)
    if "mmlu" in items:
        with bar("MMLU", "questions", sum(len(subject.items) for subject in items["mmlu"])) as shown:
            found["accuracy on MMLU, %"] = evaluate(
                local, items["mmlu"], shots=options.shots, progress=shown.advance
            ).right
    return found


def _tasks(options: Options, local: "LocalModel", rows: list[Any]) -> list[Any]:
    from double_i.harm import Task
    from double_i.templates import prompt_text

    return [
        Task(prompt_text(options.template, row, options.join, local.tokenizer), row.output, row.instruction)
        for row in rows
    ]


def _page(
    options: Options, found: "list[Harm]", items: dict[str, Any], measured: list[dict[str, Any]]
) -> Path:
    from nonet.report import Page

    page = Page("What the mark costs", f"{options.clean} without, {options.marked} with a mark").text(
        "Both models had the same items. Accuracies count as equivalent where two one-sided paired t-tests "
        f"both reject a difference of {options.margin:g} points at level {options.alpha:g}; intervals are "
        "paired bootstraps over items. Not shown is not the same as harmful: too few items show nothing."
    )
    page.table([one.row() for one in found])
    if "mmlu" in items:
        rows = []
        start = 0
        for subject in items["mmlu"]:
            part = slice(start, start + len(subject.items))
            start += len(subject.items)
            clean, marked = (100 * float(one["accuracy on MMLU, %"][part].mean()) for one in measured)
            rows.append(
                {"subject": subject.name, "questions": len(subject.items), "clean": clean, "marked": marked}
            )
        page.table(rows, "MMLU by subject, per cent right")
    return page.save(options.out / "harm.html")
