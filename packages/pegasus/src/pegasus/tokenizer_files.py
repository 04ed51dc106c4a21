"""The files of a tokenizer folder, read and written: SentencePiece beside the JSON files of Hugging Face.

A trap, measured with transformers 5.23: a folder with `spiece.model` and a `tokenizer_config.json` that names
`mask_token` and `mask_token_sent`, as published ones do, loads there with the ids of `<mask_1>` and
`<mask_2>` swapped. Hence `tokenizer.json` is built here, piece by piece.
"""

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

from nonet.errors import UserError
from nonet.files import write_json
from pegasus import sentencepiece_model
from pegasus.sentencepiece_model import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED

_FIRST = 105
_NEUTRAL = ("PegasusTokenizer", "PegasusTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend", None)


@cache
def reserved_names() -> tuple[str, ...]:
    """What ids 0..104 are called."""
    return ("<pad>", "</s>", "<mask_1>", "<mask_2>", *(f"<unk_{i}>" for i in range(2, 103)))


def read(source: Path) -> tuple[bytes, list[str]]:
    """The serialized SentencePiece model of a file or folder, and what was assumed.

    Raises:
        UserError: there is none, or the folder belongs to a model with another id layout.
    """
    if source.is_file():
        if source.suffix == ".json":
            return _from_json(source)
        return source.read_bytes(), []
    if not source.is_dir():
        raise UserError(f"{source} does not exist; name a tokenizer folder or a SentencePiece .model file")
    notes = _check_config(source)
    models = sorted(source.glob("*.model"))
    if (source / "spiece.model") in models:
        models = [source / "spiece.model"]
    if len(models) == 1:
        return models[0].read_bytes(), notes
    if models:
        names = ", ".join(path.name for path in models)
        raise UserError(f"{source} has several SentencePiece models ({names}); name one of the files")
    if (source / "tokenizer.json").is_file():
        model, more = _from_json(source / "tokenizer.json")
        return model, notes + more
    raise UserError(f"file spiece.model or tokenizer.json not found in {source}; nothing is downloaded here")


def _check_config(folder: Path) -> list[str]:
    """Refuse folders of other models."""
    notes = []
    path = folder / "tokenizer_config.json"
    config = _json(path) if path.is_file() else {}
    name = config.get("tokenizer_class")
    offset = config.get("offset", 103)
    if name not in _NEUTRAL or offset != 103:
        what = f"{name} with offset {offset}" if name in _NEUTRAL else f"a {name}"
        raise UserError(
            f"{path} is {what}: its ids are laid out in another way than PEGASUS's (masks 2 and 3, pieces "
            "shifted by 103); train a tokenizer with `pegasus tokenizer train`"
        )
    if config.get("mask_token") == "<mask_1>" or config.get("mask_token_sent") == "<mask_2>":
        notes.append(
            "tokenizer_config.json swaps the names of the masks; id 2 is taken for sentences, 3 for words"
        )
    return notes


def _from_json(path: Path) -> tuple[bytes, list[str]]:
    """A SentencePiece model with the pieces, scores and normaliser of a `tokenizer.json`."""
    data = _json(path)
    model = data.get("model", {})
    vocabulary = model.get("vocab")
    if model.get("type") != "Unigram" or not isinstance(vocabulary, list):
        raise UserError(f"{path} holds a {model.get('type')} model; PEGASUS needs a Unigram one")
    names = [entry[0] for entry in vocabulary[:_FIRST]]
    notes = []
    if (
        names[:2] != ["<pad>", "</s>"]
        or sorted(names[2:4]) != ["<mask_1>", "<mask_2>"]
        or model.get("unk_id") != _FIRST
    ):
        raise UserError(
            f"{path} starts with {', '.join(names[:4])} and has unknown at {model.get('unk_id')}; PEGASUS "
            "has <pad>, </s>, <mask_1>, <mask_2> and unknown at 105: train one with `pegasus tokenizer train`"
        )
    if names[2] != "<mask_1>":
        notes.append(f"{path.name} swaps the names of the masks; id 2 is taken for sentences, 3 for words")
    user = {token["content"] for token in data.get("added_tokens", []) if not token.get("special")}
    pieces = [("<pad>", 0.0, CONTROL), ("</s>", 0.0, CONTROL), ("<unk>", 0.0, UNKNOWN)]
    for text, score in vocabulary[_FIRST + 1 :]:
        defined = text in user or text == "<n>"
        pieces.append((text, float(score), USER_DEFINED if defined else NORMAL))
    return sentencepiece_model.build(pieces, _charsmap(data.get("normalizer"))), notes


def _charsmap(normalizer: dict[str, Any] | None) -> bytes:
    """The compiled character normaliser inside a (nested) normaliser, or empty bytes."""
    if not normalizer:
        return b""
    if normalizer.get("type") == "Precompiled":
        return base64.b64decode(normalizer["precompiled_charsmap"])
    return next((found for part in normalizer.get("normalizers", []) if (found := _charsmap(part))), b"")


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise UserError(f"{path} holds a {type(data).__name__}; an object is expected")
    return data


def write_json_files(folder: Path, model: sentencepiece_model.Model) -> None:
    """Write `tokenizer.json` (unigram models alone: it holds a table of scores) and its settings."""
    if model.model_type == sentencepiece_model.UNIGRAM:
        write_json(folder / "tokenizer.json", _tokenizer_json(model))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": "<pad>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "mask_token": "<mask_2>",
            "mask_token_sent": "<mask_1>",
            "extra_special_tokens": list(reserved_names()[2:3] + reserved_names()[4:]),
            "offset": 103,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 1024,
        },
    )


def _tokenizer_json(model: sentencepiece_model.Model) -> dict[str, Any]:
    vocabulary: list[tuple[str, float]] = [(name, 0.0) for name in reserved_names()]
    vocabulary += [(text, 0.0 if kind == UNKNOWN else score) for text, score, kind in model.pieces[2:]]
    special = [*range(_FIRST), *(i + 103 for i, (_, _, kind) in enumerate(model.pieces) if kind == UNKNOWN)]
    added = [_added(i, vocabulary[i][0], special=True) for i in special]
    added += [
        _added(i + 103, text, special=False)
        for i, (text, _, kind) in enumerate(model.pieces)
        if kind == USER_DEFINED
        and text != "<n>"  # as an added token it would be written with a space before it
    ]
    newline = any(text == "<n>" for text, _, _ in model.pieces)
    normalizers: list[dict[str, Any]] = []
    decoders = [
        _replace({"String": "\u2581"}, " "),
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": int(model.adds_dummy_prefix), "stop": 0},
    ]
    if newline:
        normalizers += [_replace({"Regex": "\r\n?|\n"}, "<n>")]
        decoders += [_replace({"String": "<n>"}, "\n")]
    if model.charsmap:
        charsmap = base64.b64encode(model.charsmap).decode("ascii")
        normalizers.append({"type": "Precompiled", "precompiled_charsmap": charsmap})
    if model.removes_extra_whitespace:
        normalizers += [
            {"type": "Strip", "strip_left": True, "strip_right": True},
            _replace({"Regex": " {2,}"}, " "),
        ]
    if (
        model.adds_dummy_prefix
    ):  # as a normaliser: the pre-tokeniser would look at the text before it was stripped
        normalizers.append({"type": "Prepend", "prepend": "\u2581"})
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": sorted(added, key=lambda token: int(token["id"])),
        "normalizer": {"type": "Sequence", "normalizers": normalizers} if normalizers else None,
        "pre_tokenizer": {
            "type": "Metaspace",
            "replacement": "\u2581",
            "prepend_scheme": "never",
            "split": True,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "</s>", "type_id": 0}},
            ],
            "pair": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 0}},
                {"SpecialToken": {"id": "</s>", "type_id": 0}},
            ],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}},
        },
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "Unigram",
            "unk_id": _FIRST,
            "vocab": vocabulary,
            "byte_fallback": any(kind == BYTE for _, _, kind in model.pieces),
        },
    }


def _replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _added(number: int, content: str, *, special: bool) -> dict[str, Any]:
    return {
        "id": number, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
        "normalized": not special, "special": special,
    }  # fmt: skip
