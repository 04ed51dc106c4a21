"""The card of a model: README.md in its folder, for people and (its YAML header) for hubs.

The same facts give the same text: no date, no machine.
"""

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Score:
    """One number of a model, with the range that chance leaves it."""

    metric: str
    """its name: `rouge1`, `loss`"""
    value: float
    """the number itself"""
    low: float | None = None
    """lower end of the 95 % interval"""
    high: float | None = None
    """upper end"""
    data: str = ""
    """what it was measured on: `aeslc, test split`"""
    count: int | None = None
    """how many examples that is"""


@dataclass(frozen=True)
class ModelCard:
    """What a reader has to know before using a model."""

    title: str
    """the model's name"""
    what: str
    """a paragraph: what it does, for whom, which method"""
    license: str = "apache-2.0"
    """the identifier that hubs know"""
    language: Sequence[str] = ("en",)
    """ISO 639-1 codes"""
    tags: Sequence[str] = ()
    """the task first: `summarization`"""
    library: str = "transformers"
    """what loads it"""
    base: str | None = None
    """the model that it was trained from"""
    data: str = ""
    """a paragraph: what it was trained on"""
    options: Mapping[str, Any] | str = field(default_factory=dict)
    """of the training: a mapping, or YAML"""
    scores: Sequence[Score] = ()
    """what it reaches"""
    limits: Sequence[str] = ()
    """where it fails or was not tried"""
    load: str = ""
    """lines of Python that load and use it"""

    def text(self) -> str:
        """README.md: YAML header, then Markdown."""
        parts = [f"---\n{_yaml(self._header())}---\n", f"# {self.title}\n", _paragraphs(self.what)]
        if self.load:
            parts += ["## How to use\n", f"```python\n{textwrap.dedent(self.load).strip()}\n```\n"]
        if self.scores:
            parts += ["## Scores\n", _table(self.scores)]
        if self.data:
            parts += ["## Training data\n", _paragraphs(self.data)]
        if self.options:
            options = self.options if isinstance(self.options, str) else _yaml(dict(self.options))
            parts += ["## Training options\n", f"```yaml\n{options.strip()}\n```\n"]
        if self.limits:
            parts += ["## Limits\n", "".join(f"- {limit}\n" for limit in self.limits)]
        return "\n".join(parts)

    def _header(self) -> dict[str, Any]:
        header: dict[str, Any] = {
            "license": self.license,
            "language": list(self.language),
            "library_name": self.library,
            "base_model": self.base,
            "tags": list(self.tags),
            "metrics": list(dict.fromkeys(score.metric for score in self.scores)),
        }
        return {name: value for name, value in header.items() if value}


def _table(scores: Sequence[Score]) -> str:
    rows = [["metric", "value", "95 % interval", "data", "examples"]]
    for score in scores:
        known = score.low is not None and score.high is not None
        interval = f"{score.low:.4g} to {score.high:.4g}" if known else ""
        count = "" if score.count is None else f"{score.count:,}"
        rows.append([score.metric, f"{score.value:.4g}", interval, score.data, count])
    rows.insert(1, ["---"] * len(rows[0]))
    return "".join("| " + " | ".join(_cell(cell) for cell in row) + " |\n" for row in rows)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _paragraphs(text: str) -> str:
    return textwrap.dedent(text).strip() + "\n"


def _yaml(value: Any) -> str:
    import yaml

    plain = json.loads(json.dumps(value, default=str))  # paths and tuples as YAML's own types
    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100))
