"""Say what a file or folder of this program is, without secrets."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """Say what a key file, commitment, data file, evidence or model folder holds; shows no secrets."""

    path: Path
    """file or folder"""
    passphrase_file: Path | None = None
    """file whose first line opens an encrypted key file (or the variable DOUBLE_I_PASSPHRASE)"""

    def __post_init__(self) -> None:
        from double_i.key_files import refuse_inline

        refuse_inline(self.path)


def run(options: Options) -> int:
    """Find out what it is and describe it."""
    from nonet.errors import UserError

    path = options.path
    if path.is_dir():
        lines = _folder(path)
    elif path.is_file():
        lines = _file(path, options.passphrase_file)
    else:
        raise UserError(f"{path}: no such file or folder")
    print("\n".join([f"{path}: {lines[0]}", *(f"  {line}" for line in lines[1:])]))
    return 0


def _folder(path: Path) -> list[str]:
    from nonet.errors import UserError

    if (path / "verdict.json").is_file():
        verdict = _json(path / "verdict.json")
        shown = {
            name: value for name, value in verdict.items() if isinstance(value, str | int | float | bool)
        }
        return ["evidence of a verification", *(f"{name}: {value}" for name, value in shown.items())]
    if (path / "config.json").is_file():
        config = _json(path / "config.json")
        size = sum(file.stat().st_size for file in path.glob("*.safetensors"))
        names = ("hidden_size", "num_hidden_layers", "vocab_size")
        facts = [f"{name}: {config[name]:,}" for name in names if isinstance(config.get(name), int)]
        return [
            f"model of type {config.get('model_type', 'unknown')}",
            *facts,
            f"weights: {size / 1e6:,.1f} MB",
        ]
    if (path / "adapter_config.json").is_file():
        config = _json(path / "adapter_config.json")
        return [
            f"adapter of type {config.get('peft_type', 'unknown')}",
            f"rank: {config.get('r', 'unknown')}",
        ]
    raise UserError(f"{path}: neither an evidence folder (verdict.json) nor a model folder (config.json)")


def _file(path: Path, passphrase_file: Path | None) -> list[str]:
    import json
    from collections import Counter

    from double_i.commitments import read_commitments
    from double_i.examples import read_examples
    from double_i.key_files import LOCKED, git_warning, read_keys, read_passphrase
    from double_i.spaces import is_weak

    value = None
    if path.stat().st_size < 50e6:  # larger ones are data
        try:
            value = json.loads(path.read_text(encoding="utf-8-sig"))
        except (ValueError, OSError):
            value = None  # JSON lines, or compressed: the reader of data says what is wrong with it
    head = value[0] if isinstance(value, list) and value else value
    if isinstance(head, dict) and "digest" in head and "algorithm" in head:
        found = read_commitments(path)
        lines = [
            f"key {item['key_id']}: {item['algorithm']} {item['digest']}, {item['created']}" for item in found
        ]
        return [f"commitments to {len(found)} keys", *lines]
    if isinstance(value, dict) and (
        str(value.get("format", "")).startswith("double-i keys") or "secret" in value
    ):
        passphrase = read_passphrase(passphrase_file)
        if value.get("format") == LOCKED and passphrase is None:
            return ["encrypted key file; give its passphrase to see what keys it has"]
        keys = read_keys(path, passphrase)
        lines = [
            f"key {key.key_id}: {key.status}, paradigm {key.paradigm}, "
            f"space {key.space.name} of {key.space.size:,}"
            + (" (weak)" if is_weak(key.space.name) else "") + f", template {key.template}, {key.created}"
            for key in keys
        ]  # fmt: skip
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            lines.append(f"warning: mode {mode:04o} lets others read it; chmod 600")
        if warning := git_warning(path):
            lines.append(f"warning: {warning}")
        return [f"key file with {len(keys)} keys", *lines]
    counts: Counter[str] = Counter()
    for row in read_examples([path]):
        counts["rows"] += 1
        counts["with an input"] += bool(row.example.input)
        counts["with a system prompt"] += bool(row.example.system)
        counts["with earlier turns"] += bool(row.example.history)
        counts["characters"] += sum(map(len, row.example[:3]))
    return [
        f"data, {counts.pop('rows'):,} rows",
        *(f"{name}: {number:,}" for name, number in counts.items() if number),
    ]


def _json(path: Path) -> dict[str, object]:
    import json

    from nonet.errors import UserError

    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{path}: cannot be read as JSON") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a JSON object")
    return value
