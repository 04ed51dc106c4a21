"""A trained model of any family from its folder: `keyphrase.json` says which family reads it (ours)."""

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonet.errors import UserError

if TYPE_CHECKING:
    from keyphrase_plm.families import Family

NOTE = "keyphrase.json"
VERSION = 1
FAMILIES = {
    "tag": "keyphrase_plm.tagger:Tagger",
    "seq2seq": "keyphrase_plm.seq2seq:Seq2Seq",
    "b2b": "keyphrase_plm.bert2bert:Bert2Bert",
    "prefix-lm": "keyphrase_plm.prefix_family:PrefixLM",
}


def read_note(folder: str | Path) -> dict[str, Any]:
    """What `keyphrase.json` in a model's folder says: family, version, lengths.

    Raises:
        UserError: no such folder or file, or not one of ours.
    """
    path = Path(folder) / NOTE
    if not Path(folder).is_dir():
        raise UserError(f"{folder}: no such folder; train a model first, or name its folder")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: not there, so this is no keyphrase model yet: start from it with 'train ... --init'"
        ) from None
    except ValueError as error:
        raise UserError(f"{path}: broken: {error}") from None
    if not isinstance(found, dict) or found.get("family") not in FAMILIES:
        name = found.get("family") if isinstance(found, dict) else found
        raise UserError(f"{path}: family is {name!r}; there are {', '.join(FAMILIES)}")
    if found.get("version") != VERSION:
        raise UserError(f"{path}: version is {found.get('version')!r}, this package reads {VERSION}")
    return found


def load_family(folder: str | Path) -> "Family":
    """The model in a folder that training has written, in evaluation mode on the CPU.

    Raises:
        UserError: a file is missing or damaged; the tokenizer and the embeddings do not fit.
    """
    from keyphrase_plm.embedding_rows import check_rows

    module, _, name = FAMILIES[read_note(folder)["family"]].partition(":")
    kind = getattr(importlib.import_module(module), name)
    family: Family = kind.load(folder)
    check_rows(family, folder)
    return family.eval()
