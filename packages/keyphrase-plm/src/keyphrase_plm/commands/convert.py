"""Make a folder of ours from a finished keyphrase model of others."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Options:
    """Take over a finished keyphrase model (KeyBART, a fine-tuned BART, T5, SciBART or token classifier), so
    that `predict`, `select` and `export` read it without training.
    """

    source: str
    """folder or hub name: bloomberg/KeyBART, taln-ls2n/bart-kp20k, ..."""
    out: Path
    """folder to write"""
    family: Literal["seq2seq", "tag"] = "seq2seq"
    """seq2seq: it writes phrases with ; between them; tag: it labels words with B, I and O"""
    between: str = "[sep]"
    """what the model has learnt between title and body: [sep] (DeepKPG), <s> (taln-ls2n); its card says"""
    prefix: str = ""
    """what it has learnt in front of the source"""
    max_source: int | None = None
    """longest source in pieces; none: the model's positions, or 1024"""
    max_target: int = 128
    """longest output in pieces"""
    max_words: int = 510
    """longest text in words, for taggers"""

    def __post_init__(self) -> None:
        from nonet.errors import UserError

        for name in ("max_source", "max_target", "max_words"):
            value = getattr(self, name)
            if value is not None and value < 2:
                raise UserError(f"{name} is {value}; it is at least 2")


def run(options: Options) -> int:
    """Read the model, write the folder, say how to go on."""
    import secrets
    import shutil

    from keyphrase_plm.embedding_rows import check_rows
    from keyphrase_plm.ready_checkpoints import tagger, writer
    from nonet.errors import UserError

    if options.out.exists():
        raise UserError(f"{options.out} is there already; name another --out or remove it")
    if options.family == "tag":
        family = tagger(options.source, max_words=options.max_words)
    else:
        family = writer(
            options.source, between=options.between, prefix=options.prefix, max_source=options.max_source,
            max_target=options.max_target,
        )  # fmt: skip
    check_rows(family, options.source)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    part = options.out.with_name(f".{options.out.name}.{secrets.token_hex(4)}.part")
    try:
        family.save(part)
        part.rename(options.out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    print(f"{options.out}: a {family.name} model; keyphrase-plm predict --model {options.out} reads it")
    return 0
