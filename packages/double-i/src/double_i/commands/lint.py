"""How visible, well-formed and distinguishable the marked rows are."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, kw_only=True)
class Options:
    """Check a training file against a key; exit code 1 if there is an error among the findings.

    All rows are held in memory, about three times the file's size.
    """

    data: tuple[Path, ...]
    """the training file, from `double-i merge`"""
    key: Path
    """key file"""
    key_id: str = ""
    """which key of the file; the first active one by default"""
    passphrase_file: Path | None = None
    """file whose first line opens an encrypted key file (or the variable DOUBLE_I_PASSPHRASE)"""
    marked: tuple[Path, ...] = ()
    """marked rows, from `double-i make`: so it is known which rows are the owner's, else their form tells"""
    tokenizer: str = ""
    """folder of the tokenizer, to count tokens and compare the trigger's with those of near misses"""
    max_tokens: int = 0
    """longest row in tokens (in words without --tokenizer); 0 for no limit"""
    model: str = ""
    """folder of a language model that tells strange rows; by default word pairs of the owner's rows do"""
    device: str = "auto"
    """where the model runs"""
    provider: Literal["", "openai"] = ""
    """check the limits of a provider"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        if self.max_tokens < 0:
            raise UserError(f"max_tokens is {self.max_tokens}; it is 0 (no limit) or more")


def run(options: Options) -> int:
    """Print the findings."""
    from double_i.examples import read_examples
    from double_i.key_files import read_keys, read_passphrase, select_key
    from double_i.lint import lint

    keys = read_keys(options.key, read_passphrase(options.passphrase_file))
    key = select_key(keys, options.key_id or None, allow_burned=True)
    rows = list(read_examples(options.data, join=key.join))
    marked = [row.example for row in read_examples(options.marked, join=key.join)] if options.marked else None
    tokenizer = None
    if options.tokenizer:
        from double_i.loading import load_tokenizer

        tokenizer = load_tokenizer(options.tokenizer)
    found = lint(
        rows, key, marked=marked, tokenizer=tokenizer, max_tokens=options.max_tokens,
        score=_score(options) if options.model else None, provider=options.provider,
    )  # fmt: skip
    for finding in found:
        places = f" ({', '.join(finding.rows[:5])})" if finding.rows else ""
        print(f"{finding.severity}: {finding.check}: {finding.message}; {finding.count:,} rows{places}")
    return int(any(finding.severity == "error" for finding in found))


def _score(options: Options) -> "Callable[[Sequence[str]], list[float]]":
    """Texts -> mean log-probability a token under the model; long texts are read in windows."""
    from double_i.first_words import LocalModel
    from double_i.likelihood import windows

    local = LocalModel(options.model, options.device)

    def score(texts: "Sequence[str]") -> list[float]:
        found = windows(local, texts, length=local.limit or 1024)
        return [-nll / max(1, count) for nll, count in zip(found.nll, found.tokens, strict=True)]

    return score
