"""Recompute every number of an evidence folder, as a third party."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """Recompute an evidence folder from its answers; with the key, its digest and prompt hashes as well.

    Exit code 0: all agrees; 1: something does not; 5: the commitment or the key has another digest.
    """

    evidence: Path
    """folder that verify wrote"""
    commitment: Path | None = None
    """published commitment that the digests have to agree with"""
    key: Path | None = None
    """key file, where the owner gives it away"""
    passphrase_file: Path | None = None
    """file with the passphrase of the key file"""
    data: tuple[Path, ...] = ()
    """with --key, the owner's data that verify had; all questions are made anew"""


def run(options: Options) -> int:
    """Recompute, print, and say what differs."""
    from double_i.commitments import read_commitments
    from double_i.evidence import PROOF
    from double_i.evidence_page import choice
    from double_i.key_files import read_keys, read_passphrase
    from double_i.rechecking import recheck
    from double_i.texts import verify_texts
    from nonet.errors import UserError

    if not options.evidence.is_dir():
        raise UserError(f"{options.evidence}: no such evidence folder; `double-i verify --out` writes one")
    digests = None
    if options.commitment is not None:
        digests = {item["key_id"]: item["digest"] for item in read_commitments(options.commitment)}
    keys = []
    if options.key is not None:
        keys = read_keys(options.key, read_passphrase(options.passphrase_file))
    elif options.data:
        raise UserError("--data needs --key: questions follow from both")
    texts = verify_texts(options.data) if options.data else []
    found = recheck(options.evidence, digests=digests, commitment=options.commitment, keys=keys, texts=texts)
    for line in found.agrees:
        print(f"agrees   {line}")
    for line in found.differs:
        print(f"DIFFERS  {line}")
    verdict = found.assessment.verdict
    print(f"{verdict.outcome}: p = {verdict.p:.3g}, p_key = {verdict.p_key:.3g}, from {options.evidence}")
    for path in sorted(options.evidence.glob(f"{PROOF}*")):
        print(f"{path.name}: a time stamp of commitment.json, to be checked with the tool that made it")
    if options.commitment is None:
        print("the commitment was not checked: give what was published of the key with --commitment")
    elif said := choice(found.summary):
        print(f"keys in the commitment: {said}")
    return 5 if found.mismatch else 1 if found.differs else 0
