"""Every number of an evidence folder once more, from the recorded answers alone. Source: ours."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from double_i.answers import AnswerWords, parse
from double_i.assessment import Assessment, Record, Settings, assess, decoy_table, tables
from double_i.evidence import COMMITMENT, FORMAT, MANIFEST, read_json, read_records, verdict_json
from nonet.errors import UserError
from nonet.files import sha256

if TYPE_CHECKING:
    from double_i.keys import Key


class Recheck(NamedTuple):
    """What agrees and what does not."""

    summary: dict[str, Any]
    """verdict.json"""
    assessment: Assessment
    """computed anew"""
    agrees: list[str]
    differs: list[str]
    mismatch: bool
    """a commitment or a key has another digest"""


def recheck(
    folder: str | Path,
    *,
    digests: Mapping[str, str] | None = None,
    commitment: Path | None = None,
    keys: Sequence["Key"] = (),
    texts: Sequence[str] = (),
) -> Recheck:
    """Recompute an evidence folder.

    Args:
        folder: what `verify` wrote.
        digests: key id -> digest of a published commitment.
        commitment: its file, of which the folder should have a copy.
        keys: the secret keys, where their owner gives them away.
        texts: base texts of the verification half; with the keys, all prompt hashes are recomputed.

    Raises:
        UserError: no evidence folder, or a file of it cannot be read.
    """
    folder = Path(folder)
    summary = read_json(folder / "verdict.json")
    if not isinstance(summary, dict) or summary.get("format") != FORMAT:
        raise UserError(f"{folder / 'verdict.json'}: not the verdict of an evidence folder")
    agrees: list[str] = []
    differs: list[str] = []

    def note(same: bool, name: str, what: str) -> None:
        (agrees if same else differs).append(f"{name}: {what}")

    for name, expected in read_json(folder / MANIFEST).items():
        if Path(name).name != name:
            raise UserError(f"{folder / MANIFEST}: {name!r} is no file of this folder")
        there = (folder / name).is_file()
        note(there and sha256(folder / name) == expected, name, "hash of the manifest")
    rows = read_records(folder / "answers.jsonl")
    records = [record for record, _ in rows]
    try:
        settings = _settings(summary["settings"])
        claims = {claim["key_id"]: claim for claim in summary["keys"]}
        targets = {name: claim["target"] for name, claim in claims.items()}
        committed = {name: bool(claim["committed"]) for name, claim in claims.items()}
        found = assess(records, settings, targets, committed)
    except (KeyError, TypeError, IndexError, ZeroDivisionError) as error:
        raise UserError(f"{folder}: settings, keys and answers do not go together") from error
    labels = all(
        label == (None if one.raw is None else parse(one.raw, settings.words)) for one, label in rows
    )
    note(labels, "answers.jsonl", "what each answer says")
    note(_complete(records, settings), "answers.jsonl", "as many pairs for every decoy as for the key")
    note(_same(read_json(folder / "table.json"), tables(found)), "table.json", "counts and p-values")
    note(_same(read_json(folder / "decoys.json"), decoy_table(found)), "decoys.json", "scores and p_key")
    computed = verdict_json(found, records)
    note(
        _same({name: summary.get(name) for name in computed}, computed), "verdict.json", "verdict and reasons"
    )
    if commitment is not None and (folder / COMMITMENT).is_file():
        same_file = sha256(folder / COMMITMENT) == sha256(commitment)
        note(same_file, COMMITMENT, "the published file, byte for byte")
    before = len(differs)
    for name, claim in claims.items() if digests is not None else ():
        given = (digests or {}).get(name)
        note(given == claim["digest"], "commitment", f"digest of key {name}")
    if digests is not None and summary.get("commitment_keys") is not None:
        note(summary["commitment_keys"] == len(digests), "commitment", "how many keys it holds")
    if keys:
        _check_keys(keys, claims, note)
    mismatch = len(differs) > before
    if keys:
        _check_prompts(folder, keys, records, settings, texts, note)
    return Recheck(summary, found, agrees, differs, mismatch)


def _check_keys(keys: Sequence["Key"], claims: Mapping[str, Any], note: Any) -> None:
    from double_i.keys import digest, is_drawn

    by_id = {key.key_id: key for key in keys}
    for name, claim in claims.items():
        key = by_id.get(name)
        note(key is not None and digest(key) == claim["digest"], "key", f"digest of key {name}")
        note(key is not None and key.answers.target == claim["target"], "key", f"target answer of key {name}")
        note(key is not None and is_drawn(key), "key", f"key {name} follows from its secret")


def _check_prompts(
    folder: Path,
    keys: Sequence["Key"],
    records: Sequence[Record],
    settings: Settings,
    texts: Sequence[str],
    note: Any,
) -> None:
    """Prompt hashes, by the revealed prompts or by making the questions anew."""
    from double_i.drawing import Draws
    from double_i.examples import Example
    from double_i.queries import full_plan, prompt_hash

    by_id = {key.key_id: key for key in keys}
    hashes = {one.number: one.prompt_hash for one in records}
    owner = {one.number: one.key_id for one in records}
    path = folder / "prompts.jsonl"
    if path.is_file():
        same = True
        count = 0
        for line in path.read_text(encoding="utf-8").splitlines():
            value = json.loads(line)
            key = by_id.get(owner.get(value["number"], ""))
            row = Example(value["instruction"], value["input"], "", value["system"])
            count += 1
            same &= key is not None and hashes[value["number"]] == prompt_hash(
                Draws(key.secret), row, value["template"], value["join"]
            )
        note(same and count == len(records), "prompts.jsonl", "hashes of the revealed prompts")
    if texts:
        made: dict[int, tuple[Any, ...]] = {}
        for key in (by_id[name] for name in dict.fromkeys(one.key_id for one in records) if name in by_id):
            for template in settings.templates or (key.template,):
                plan = full_plan(
                    key, texts, pairs=settings.pairs, decoys=settings.decoys,
                    decoy_pairs=settings.decoy_pairs, template=template, first=len(made),
                )  # fmt: skip
                made |= {q.number: (q.set, q.pair, q.decoy, q.prompt_hash) for q in plan.queries}
        same = all(made.get(one.number) == (one.set, one.pair, one.decoy, one.prompt_hash) for one in records)
        same &= settings.sequential or len(made) == len(records)
        note(same, "answers.jsonl", "questions, made anew from key and texts")


def _complete(records: Sequence[Record], settings: Settings) -> bool:
    """Whether no answer of a set was left out."""
    groups: dict[tuple[str, str], dict[tuple[str, int], set[int]]] = {}
    for one in records:
        sets = groups.setdefault((one.key_id, one.template), {})
        sets.setdefault((one.set, one.decoy), set()).add(one.pair)
    for sets in groups.values():
        own = sets.get(("trigger", -1), set())
        first = set(range(min(settings.decoy_pairs, len(own))))
        if own != set(range(len(own))) or sets.get(("reference", -1)) != own:
            return False
        decoys = {decoy: pairs for (kind, decoy), pairs in sets.items() if kind == "decoy"}
        if set(decoys) != set(range(settings.decoys)) or any(pairs != first for pairs in decoys.values()):
            return False
    return True


def _settings(value: Mapping[str, Any]) -> Settings:
    words = AnswerWords(yes=tuple(value["words"]["yes"]), no=tuple(value["words"]["no"]))
    return Settings(**{**value, "words": words, "templates": tuple(value["templates"])})


def _same(first: Any, second: Any) -> bool:
    """Whether JSON values agree, numbers up to rounding."""
    second = json.loads(json.dumps(second)) if not isinstance(second, int | float | str) else second
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same(first[name], second[name]) for name in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_same, first, second))
    if isinstance(first, float) and isinstance(second, int | float):
        return math.isclose(first, second, rel_tol=1e-6, abs_tol=0.0)
    return bool(first == second)
