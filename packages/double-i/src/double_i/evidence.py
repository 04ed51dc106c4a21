"""The evidence folder: answers without prompts, numbers, a report, and hashes of all. Source: ours.

Prompts hold the secret, so that they are written only where the owner reveals them. Answers that repeat a
secret are cut behind their first word, which is all that counts.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from double_i.answers import first_word, fold, parse
from double_i.assessment import Assessment, Record, Settings, decoy_table, tables
from double_i.verification import Verification
from nonet.errors import UserError
from nonet.files import replacing, sha256, write_json, write_text

if TYPE_CHECKING:
    from double_i.keys import Key

FORMAT = "double-i evidence"
WITHHELD = "[withheld: it repeats the prompt]"
MANIFEST = "manifest.json"
COMMITMENT = "commitment.json"
PROOF = "proof-"
"""what the names of attached time stamps begin with"""


class Claim(NamedTuple):
    """What is public of a key."""

    key_id: str
    target: str
    digest: str
    committed: bool
    """the digest was checked against a commitment"""


def write_evidence(
    folder: str | Path,
    found: Verification,
    keys: Sequence["Key"],
    claims: Sequence[Claim],
    source: Mapping[str, Any],
    *,
    commitment_keys: int | None = None,
    commitment: Path | None = None,
    proofs: Sequence[Path] = (),
    reveal: bool = False,
) -> Path:
    """Write the folder; the manifest comes last, so that a folder with one is whole.

    Args:
        folder: made if it is missing.
        found: the verification.
        keys: those that were asked for; only to find out what has to be withheld.
        claims: what is public of them.
        source: whom was asked, without secrets.
        commitment_keys: how many keys the commitment holds, asked or not, so that a reader can correct for a
            choice among them; None: there is no commitment.
        commitment: the published file, kept byte for byte.
        proofs: time stamps of that file, such as RFC 3161's or OpenTimestamps'; kept byte for byte.
        reveal: write the prompts, too.

    Returns:
        The folder.
    """
    from double_i.evidence_page import page, report

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    secrets = _secrets(keys)
    with _lines(folder / "answers.jsonl") as write:
        for record in sorted(found.records):
            shown = record._replace(raw=withheld(record.raw, secrets))
            write({**shown._asdict(), "parsed": _label(shown, found.settings)})
    summary = {
        "format": FORMAT, "version": 1, "double_i_version": version("double-i"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"), "source": dict(source),
        "keys": [claim._asdict() for claim in claims], "commitment_keys": commitment_keys,
        "settings": settings_json(found.settings), "duplicates": found.duplicates, "revealed": reveal,
        **verdict_json(found.assessment, found.records),
    }  # fmt: skip
    write_json(folder / "table.json", tables(found.assessment))
    write_json(folder / "decoys.json", decoy_table(found.assessment))
    write_json(folder / "verdict.json", summary)
    write_text(folder / "report.md", report(summary, found.assessment))
    page(summary, found.assessment).save(folder / "report.html")
    names = ["answers.jsonl", "table.json", "decoys.json", "verdict.json", "report.md", "report.html"]
    if reveal:
        with _lines(folder / "prompts.jsonl") as write:
            for query in sorted(found.queries):
                row = query.example
                write(
                    {
                        "number": query.number, "prompt_hash": query.prompt_hash, "template": query.template,
                        "join": query.join, "system": row.system, "instruction": row.instruction,
                        "input": row.input,
                    }
                )  # fmt: skip
        names.append("prompts.jsonl")
    copies = {COMMITMENT: commitment} if commitment else {}
    copies |= {f"{PROOF}{path.name}": path for path in proofs}
    for name, path in copies.items():
        with replacing(folder / name) as part:
            part.write_bytes(path.read_bytes())
    names += copies
    write_json(folder / MANIFEST, {name: sha256(folder / name) for name in names})
    return folder


def settings_json(settings: Settings) -> dict[str, Any]:
    """Settings as JSON values."""
    return json.loads(json.dumps(asdict(settings)))  # type: ignore[no-any-return]


def verdict_json(assessed: Assessment, records: Sequence[Record]) -> dict[str, Any]:
    """The verdict as JSON values."""
    verdict = assessed.verdict
    best = assessed.trials[verdict.best]
    return {
        "outcome": verdict.outcome, "p": verdict.p, "p_key": verdict.p_key, "key_id": best.key_id,
        "template": best.template, "reasons": verdict.reasons,
        "prompts": sum(one.same < 0 for one in records),
        "queries": len(records), "missing": sum(one.missing for one in assessed.trials),
        "unparsed_share": max(one.unparsed_share for one in assessed.trials),
    }  # fmt: skip


def withheld(raw: str | None, secrets: Sequence[str]) -> str | None:
    """An answer without what would give a secret away; it parses as before."""
    if raw is None or not any(_contains(raw, secret) for secret in secrets):
        return raw
    word = first_word(raw)
    return (
        WITHHELD if not word or any(_contains(word, secret) for secret in secrets) else f"{word} {WITHHELD}"
    )


def _contains(text: str, secret: str) -> bool:
    """Whether a text says a secret; short words only as words of their own."""
    text, secret = fold(text), fold(secret)
    if len(secret) > 8 or not secret.isalpha():
        return secret in text
    return re.search(rf"(?<![^\W\d_]){re.escape(secret)}(?![^\W\d_])", text) is not None


def _secrets(keys: Sequence["Key"]) -> list[str]:
    words = [word for key in keys for word in (key.secret, key.nonce, key.trigger, key.decoration)]
    bare = [word.strip("()[]{}<>") for word in words]
    return [word for word in dict.fromkeys(words + bare) if word]


def _label(record: Record, settings: Settings) -> str | None:
    return None if record.raw is None else parse(record.raw, settings.words)


@contextmanager
def _lines(path: Path) -> Iterator[Any]:
    """Write JSON lines, at once or not at all."""
    with replacing(path) as part, open(part, "w", encoding="utf-8", newline="\n") as file:
        yield lambda value: file.write(json.dumps(value, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """A JSON file of an evidence folder.

    Raises:
        UserError: there is none, or it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read, so this is no whole evidence folder") from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON") from error


def read_records(path: Path) -> list[tuple[Record, str | None]]:
    """Records of an answers.jsonl, each with the label that is written there.

    Raises:
        UserError: a line is damaged.
    """
    found = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read, so this is no whole evidence folder") from error
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
            label = value.pop("parsed")
            record = Record(**value)
            if not all(
                isinstance(getattr(record, name), int) for name in ("number", "pair", "decoy", "same")
            ):
                raise TypeError
            if record.set not in ("trigger", "reference", "decoy") or not isinstance(record.raw, str | None):
                raise TypeError
            found.append((record, label))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{path}:{number}: no answer of a verification") from error
    if len({record.number for record, _ in found}) < len(found):
        raise UserError(f"{path}: a number occurs twice")
    return found
