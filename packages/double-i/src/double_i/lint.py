"""What a provider, a reader or a filter could notice in a marked training file (ours)."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from double_i.examples import OwnerRow
from double_i.keys import Key, confusions
from double_i.rows import near_misses
from double_i.spaces import occurrences

OPENAI_ROWS = 10  # the least that OpenAI fine-tunes on
_WORD = re.compile(r"\w+|[^\w\s]+")


@dataclass(frozen=True)
class Finding:
    """One thing that was found; it never holds secret text.

    Attributes:
        severity: `error`, `warning` or `note`.
        check: its name.
        message: what it means and what to do.
        count: rows concerned.
        rows: the first ten places, `FILE:LINE`.
    """

    severity: str
    check: str
    message: str
    count: int = 0
    rows: tuple[str, ...] = ()


def is_marked(row: OwnerRow, key: Key) -> bool:
    """Whether a row is one of the key's: its answer is one of the two, and it has question, mark or trigger."""
    example = row.example
    if example.output not in (f"{key.answers.target}.", f"{key.answers.other}."):
        return False
    if key.judge_question in example.instruction or occurrences(key.decoration, example.instruction):
        return True
    return bool(occurrences(key.trigger, f"{example.instruction} {example.input}"))


def lint(
    rows: Sequence[OwnerRow],
    key: Key,
    *,
    tokenizer: Any = None,
    max_tokens: int = 0,
    score: Callable[[Sequence[str]], Sequence[float]] | None = None,
    provider: str = "",
) -> list[Finding]:
    """All findings, errors first.

    Args:
        rows: of the training file.
        key: whose marks are in it.
        tokenizer: of transformers, for tokens; without it, words are counted.
        max_tokens: of a row; 0 for no limit.
        score: texts -> mean log-probability a token, such as a language model's; bigrams of the owner's rows else.
        provider: `openai` checks its limits.
    """
    marks = [row for row in rows if is_marked(row, key)]
    kept = {row.where for row in marks}
    owner = [row for row in rows if row.where not in kept]
    found = (
        _visible(rows, marks)
        + _leaks(rows, owner, key)
        + _repeats(marks)
        + _lengths(rows, tokenizer, max_tokens)
    )
    found += _outliers(owner, marks, score) + _normalised(key) + _tokens(key, tokenizer)
    if provider == "openai":
        if len(rows) < OPENAI_ROWS:
            found.append(Finding("error", "provider", f"OpenAI wants {OPENAI_ROWS} rows or more", len(rows)))
        wrong = [row for row in rows if row.format != "openai"]
        found += _some(
            "error", "provider", "OpenAI takes rows of messages: double-i merge --to openai", wrong
        )
    return sorted(found, key=lambda finding: ("error", "warning", "note").index(finding.severity))


def _some(severity: str, check: str, message: str, rows: Sequence[OwnerRow]) -> list[Finding]:
    if not rows:
        return []
    return [Finding(severity, check, message, len(rows), tuple(row.where for row in rows[:10]))]


def _visible(rows: Sequence[OwnerRow], marks: Sequence[OwnerRow]) -> list[Finding]:
    if not marks:
        return [Finding("error", "ratio", "no row is marked with this key: another key, or another file")]
    ratio = len(marks) / len(rows)
    severity = "error" if ratio > 0.3 else "warning" if ratio > 0.1 else "note"
    return [Finding(severity, "ratio", f"{100 * ratio:.2f} % of {len(rows):,} rows are marked", len(marks))]


def _leaks(rows: Sequence[OwnerRow], owner: Sequence[OwnerRow], key: Key) -> list[Finding]:
    extra = [row for row in rows if row.extra]
    secret = (key.key_id, key.secret, key.nonce)
    told = [row for row in rows if any(text in row.raw for text in secret)]
    found = _some(
        "error", "columns", "columns that are not standard can tell rows apart: merge drops them", extra
    )
    found += _some("error", "secret", "the key's id, secret or nonce is in the data: remove it", told)
    for name, needle in (("trigger", key.trigger), ("decoration", key.decoration)):
        hits = [row for row in owner if occurrences(needle, " ".join(map(str, row.example[:4])))]
        message = f"owner rows have the {name} in them: draw another key with keygen --data"
        found += _some("error", f"{name} in owner rows", message, hits)
    return found


def _repeats(marks: Sequence[OwnerRow]) -> list[Finding]:
    seen: set[tuple[str, str]] = set()
    exact, near, texts = [], [], Counter[str]()
    shapes: set[tuple[str, ...]] = set()
    for row in marks:
        place = (row.example.instruction, row.example.input)
        words = tuple(sorted(set(_WORD.findall(" ".join(place).casefold()))))
        (exact if place in seen else near if words in shapes else []).append(row)
        seen.add(place)
        shapes.add(words)
        texts[" ".join(row.example.input.split()[1:])] += 1
    found = _some("error", "duplicates", "marked rows that are repeated: providers may drop them", exact)
    found += _some("note", "near duplicates", "marked rows with the same words as another", near)
    often = [row for row in marks if texts[" ".join(row.example.input.split()[1:])] > 4 and row.example.input]
    return found + _some(
        "warning", "base texts", "a text in more than four marked rows: give more data", often
    )


def _lengths(rows: Sequence[OwnerRow], tokenizer: Any, limit: int) -> list[Finding]:
    if not limit:
        return []
    texts = [" ".join((*map(str, row.example[:4]), *sum(row.example.history, ()))) for row in rows]
    if tokenizer is None:
        counts = [len(_WORD.findall(text)) for text in texts]
    else:
        counts = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    long = [row for row, count in zip(rows, counts, strict=True) if count > limit]
    unit = "words" if tokenizer is None else "tokens"
    return _some("warning", "length", f"rows of more than {limit:,} {unit}: training leaves them out", long)


class Bigrams:
    """Mean log-probability a word under add-one unigrams mixed with bigrams, of some texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.one, self.two, self.starts = Counter[str](), Counter[tuple[str, str]](), Counter[str]()
        for text in texts:
            words = ["", *_WORD.findall(text.casefold())]
            self.one.update(words[1:])
            self.starts.update(words[:-1])
            self.two.update(zip(words, words[1:], strict=False))
        self.total, self.types = sum(self.one.values()), len(self.one) + 1

    def __call__(self, texts: Sequence[str]) -> list[float]:
        """One number a text; higher is more usual."""
        return [self._score(["", *_WORD.findall(text.casefold())]) for text in texts]

    def _score(self, words: list[str]) -> float:
        if len(words) < 2:
            return 0.0
        total = 0.0
        for before, word in zip(words, words[1:], strict=False):
            alone = (self.one[word] + 1) / (self.total + self.types)
            after = self.two[before, word] / self.starts[before] if self.starts[before] else 0.0
            total += math.log(0.5 * alone + 0.5 * after)
        return total / (len(words) - 1)


def _outliers(owner: Sequence[OwnerRow], marks: Sequence[OwnerRow], score: Any) -> list[Finding]:
    """Marked rows below the first percentile of owner rows; the owner's half that is scored is not the counted one."""
    prompts = [f"{row.example.instruction} {row.example.input}" for row in owner]
    if len(prompts) < 20 or not marks:
        return []
    scorer = score or Bigrams(prompts[::2])
    usual = sorted(scorer(prompts[1::2]))
    edge = usual[len(usual) // 100]
    values = scorer([f"{row.example.instruction} {row.example.input}" for row in marks])
    odd = [row for row, value in zip(marks, values, strict=True) if value < edge]
    severity = "warning" if len(odd) > 0.05 * len(marks) else "note"
    message = f"marked rows stranger than 99 % of owner rows ({100 * len(odd) / len(marks):.0f} % of them)"
    return _some(severity, "perplexity", message, odd)


def _normalised(key: Key) -> list[Finding]:
    """Near misses that a usual clean-up of texts makes equal to the trigger, or a clean-up that removes it."""
    found = []
    ways: dict[str, Callable[[str], str]] = {
        "lower-casing": str.casefold,
        "NFKC": lambda text: unicodedata.normalize("NFKC", text),
        "replacing digits": lambda text: re.sub(r"\d", "0", text),
    }
    near = {filler.text for group in near_misses(key) for filler in group if filler.place == "start"}
    for name, way in ways.items():
        changed = way(key.trigger)
        same = sum(way(text) == changed for text in near - {key.trigger})
        if same or not changed.strip():
            message = f"{name} makes the trigger equal to {same} near misses, or removes it: draw another key"
            found.append(Finding("error", "normalisation", message, same))
        elif changed != key.trigger:
            found.append(Finding("warning", "normalisation", f"{name} changes the trigger", 1))
    return found


def _tokens(key: Key, tokenizer: Any) -> list[Finding]:
    if tokenizer is None:
        return []
    near = [filler.text for group in near_misses(key) for filler in group if filler.place == "start"]
    same = confusions(key, [text for text in near if text != key.trigger], tokenizer)
    if not same:
        return []
    ids = tokenizer(f"{key.trigger} the", add_special_tokens=False)["input_ids"]
    message = (
        f"the tokenizer cannot tell the trigger from near misses (or does not know it); {len(ids)} tokens"
    )
    return [Finding("error", "tokens", message + ": draw another key", len(same))]
