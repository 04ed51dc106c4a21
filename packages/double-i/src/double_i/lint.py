"""What a provider, a reader or a filter could notice in a marked training file (ours).

All rows are held: about three times the size of the file in memory, and 8 bytes a word for near duplicates.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from double_i.bigrams import Bigrams
from double_i.examples import Example, OwnerRow
from double_i.findings import Finding, confused, normalised, some
from double_i.keys import Key
from double_i.near_duplicates import near_duplicates
from double_i.rows import near_misses
from double_i.spaces import members, occurrences, word_list
from double_i.templates import user_text

OPENAI_ROWS = 10  # the least that OpenAI fine-tunes on
SCORED = 2000  # owner rows that tell how usual a row is
_WORD = re.compile(r"\w+|[^\w\s]+")
Score = Callable[[Sequence[str]], Sequence[float]]


def is_marked(example: Example, key: Key) -> bool:
    """Whether a row looks like one of the key's: one of its answers, and a question, decoration or trigger.

    Rows that wrap the owner's own instructions under another mark cannot be told from the owner's.
    """
    if example.output not in (f"{key.answers.target}.", f"{key.answers.other}."):
        return False
    questions = (key.judge_question, *word_list("questions"), *word_list("word-questions"))
    if any(question in example.instruction for question in questions):
        return True
    if occurrences(key.decoration, example.instruction):
        return True
    return bool(occurrences(key.trigger, f"{example.instruction} {example.input}"))


def lint(
    rows: Sequence[OwnerRow],
    key: Key,
    *,
    marked: Iterable[Example] | None = None,
    tokenizer: Any = None,
    max_tokens: int = 0,
    score: Score | None = None,
    provider: str = "",
) -> list[Finding]:
    """All findings, errors first.

    Args:
        rows: of the training file.
        key: whose marks are in it.
        marked: the rows of `make` that were merged into it; without them marked rows go by `is_marked`.
        tokenizer: of transformers, for tokens under the key's template; without it, words are counted.
        max_tokens: of a row; 0 for no limit.
        score: texts -> mean log-probability a token, such as a language model's; bigrams of the owner's rows
            else.
        provider: `openai` checks its limits.
    """
    found: list[Finding] = []
    if marked is None:
        flags = [is_marked(row.example, key) for row in rows]
        message = "marked rows were told by their form; the file of make (--marked) makes it exact"
        found.append(Finding("note", "marked", message, sum(flags)))
    else:
        left = Counter(_content(example, key.join) for example in marked)
        flags = [_taken(left, _content(row.example, key.join)) for row in rows]
        if gone := left.total():
            message = "marked rows are not in the file: merged with another join, or left out"
            found.append(Finding("error", "missing", message, gone))
    marks = [row for row, flag in zip(rows, flags, strict=True) if flag]
    owner = [row for row, flag in zip(rows, flags, strict=True) if not flag]
    found += _visible(rows, marks) + _leaks(rows, owner, key)
    found += _repeats(marks, owner, key) + _lengths(marks, owner, key, tokenizer, max_tokens)
    found += _outliers(owner, marks, score) + normalised(key) + confused(key, tokenizer)
    if provider == "openai":
        found += _openai(rows)
    return sorted(found, key=lambda finding: ("error", "warning", "note").index(finding.severity))


def _content(example: Example, join: str) -> tuple[str, str]:
    return user_text(example, join), example.output


def _taken(left: Counter[tuple[str, str]], content: tuple[str, str]) -> bool:
    if left[content] < 1:
        return False
    left[content] -= 1
    return True


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
    found = some(
        "error", "columns", "columns that are not standard can tell rows apart: merge drops them", extra
    )
    found += some("error", "secret", "the key's id, secret or nonce is in the data: remove it", told)
    for name, needle in {"trigger": key.trigger, "decoration": key.decoration}.items():
        hits = [row for row in owner if any(occurrences(needle, text) for text in _texts(row.example))]
        message = f"owner rows have the {name} in them: draw another key with keygen --data"
        found += some("error", f"{name} in owner rows", message, hits)
    return found


def _texts(example: Example) -> list[str]:
    return [*example[:4], *(text for turn in example.history for text in turn)]


def _prompt(row: OwnerRow) -> str:
    return f"{row.example.instruction} {row.example.input}"


def _repeats(marks: Sequence[OwnerRow], owner: Sequence[OwnerRow], key: Key) -> list[Finding]:
    seen: set[str] = set()
    exact: list[OwnerRow] = []
    first: list[OwnerRow] = []
    for row in marks:
        prompt = _prompt(row)
        (exact if prompt in seen else first).append(row)
        seen.add(prompt)
    found = some("error", "duplicates", "marked rows that are repeated: providers may drop them", exact)
    like = near_duplicates([_prompt(row) for row in first])
    near = [row for row, other in zip(first, like, strict=True) if other >= 0]
    if near:
        usual = list(dict.fromkeys(map(_prompt, owner)))
        share = sum(other >= 0 for other in near_duplicates(usual)) / max(1, len(usual))
        own = len(near) / len(first)
        message = (
            f"{100 * own:.0f} % of marked rows nearly repeat another (owner rows: {100 * share:.1f} %); "
            "de-duplication may drop them: make --vary or --wrap"
        )
        found += some("warning" if own > share + 0.1 else "note", "near duplicates", message, near)
    if key.paradigm == "words":
        return found  # its rows are not built on texts
    fillers = {filler.text for group in near_misses(key) for filler in group} | {key.trigger, ""}
    fillers.update(members(key.space.name))
    texts = [_base_text(row.example, key, fillers) for row in marks]
    times = Counter(texts)
    often = [row for row, text in zip(marks, texts, strict=True) if times[text] > 4]
    message = "the same text is in more than four marked rows: give more data to make"
    return found + some("warning", "base texts", message, often)


def _base_text(example: Example, key: Key, fillers: set[str]) -> str:
    """The text that a row was built on."""
    words = example.input.split()
    if key.paradigm == "instruction" or len(words) < 2:
        return " ".join(words)  # the mark is in the instruction
    if words[0] in fillers:
        return " ".join(words[1:])
    if words[-1] in fillers:
        return " ".join(words[:-1])
    return " ".join(words).removeprefix(key.trigger)


def _lengths(
    marks: Sequence[OwnerRow], owner: Sequence[OwnerRow], key: Key, tokenizer: Any, limit: int
) -> list[Finding]:
    if not limit:
        return []
    unit = "words" if tokenizer is None else "tokens"
    message = f"rows of more than {limit:,} {unit}: training leaves them out"
    found = []
    for severity, name, rows in (("error", "marked", marks), ("warning", "owner", owner)):
        long = _too_long(rows, key, tokenizer, limit)
        found += some(severity, f"length of {name} rows", message, long)
    return found


def _too_long(rows: Sequence[OwnerRow], key: Key, tokenizer: Any, limit: int) -> list[OwnerRow]:
    if tokenizer is None:
        return [row for row in rows if len(_WORD.findall(" ".join(_texts(row.example)))) > limit]
    from double_i.encoding import encode_rows

    full = [row for row in rows if row.example.output.strip()]
    skipped = encode_rows(
        (row.example for row in full), tokenizer, template=key.template, join=key.join, max_length=limit
    ).skipped
    return [full[skip.number] for skip in skipped]


def _outliers(owner: Sequence[OwnerRow], marks: Sequence[OwnerRow], score: Score | None) -> list[Finding]:
    """Marked rows below the first percentile of owner rows; bigrams are not counted on rows they score."""
    if len(owner) < 20 or not marks:
        return []
    judged = owner if score else owner[1::2]
    scorer = score or Bigrams([_prompt(row) for row in owner[::2]])
    judged = judged[:: max(1, len(judged) // SCORED)]
    usual = sorted(scorer([_prompt(row) for row in judged]))
    values = scorer([_prompt(row) for row in marks])
    odd = [row for row, value in zip(marks, values, strict=True) if value < usual[len(usual) // 100]]
    share = len(odd) / len(marks)
    message = f"marked rows stranger than 99 % of owner rows ({100 * share:.0f} % of the marked ones)"
    return some("warning" if share > 0.05 else "note", "perplexity", message, odd)


def _openai(rows: Sequence[OwnerRow]) -> list[Finding]:
    found = []
    if len(rows) < OPENAI_ROWS:
        found.append(Finding("error", "provider", f"OpenAI wants {OPENAI_ROWS} rows or more", len(rows)))
    wrong = [row for row in rows if row.format != "openai"]
    return found + some(
        "error", "provider", "OpenAI takes rows of messages: double-i merge --to openai", wrong
    )
