"""How visible, well-formed and distinguishable the marked rows are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Options:
    """Check a training file against a key; exit code 1 if there is an error among the findings."""

    data: tuple[Path, ...]
    """the training file, from `double-i merge`"""
    key: Path
    """key file"""
    key_id: str = ""
    """which key of the file; the first active one by default"""
    tokenizer: str = ""
    """folder of the tokenizer, to count tokens and compare the trigger's with those of near misses"""
    max_tokens: int = 0
    """longest row in tokens (in words without --tokenizer); 0 for no limit"""
    provider: Literal["", "openai"] = ""
    """check the limits of a provider"""


def run(options: Options) -> int:
    """Print the findings."""
    from double_i.examples import read_examples
    from double_i.key_files import read_keys, select_key
    from double_i.lint import lint

    key = select_key(read_keys(options.key), options.key_id or None, allow_burned=True)
    rows = list(read_examples(options.data, join=key.join))
    tokenizer = None
    if options.tokenizer:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(options.tokenizer)
    found = lint(rows, key, tokenizer=tokenizer, max_tokens=options.max_tokens, provider=options.provider)
    for finding in found:
        places = f" ({', '.join(finding.rows[:5])})" if finding.rows else ""
        print(f"{finding.severity}: {finding.check}: {finding.message}; {finding.count:,} rows{places}")
    return int(any(finding.severity == "error" for finding in found))
