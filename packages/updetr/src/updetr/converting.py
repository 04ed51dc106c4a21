"""A detector of others as a model folder: which reader, what was found, what was assumed (ours)."""

from collections.abc import Callable
from pathlib import Path

from nonet.errors import UserError
from updetr.hf_configs import CLASSES, SIZES
from updetr.loading import build, load_model, put, save_model
from updetr.model_folders import NOTE, Source, model_folder, read_source
from updetr.original_weights import convert_original

_SUFFIXES = (".pth", ".pt", ".bin", ".tar", ".ckpt", ".safetensors")


def convert(
    source: str,
    out: Path,
    *,
    labels: Path | None = None,
    heads: int | None = None,
    patches: int | None = None,
    dilation: bool | None = None,
    sizes: tuple[int | None, int | None] = (None, None),
    overwrite: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, str]:
    """Write `source` as a model folder, and read it back.

    Args:
        source: a checkpoint file, or a folder or hub name of transformers.
        out: the folder to write.
        labels: file with the names of the classes, for a checkpoint.
        heads: see `convert_original`.
        patches: see `convert_original`.
        dilation: see `convert_original`.
        sizes: shortest and longest side of images, pixels; None for what the source says.
        overwrite: replace a folder of ours.
        say: takes the account of the weights.

    Returns:
        What was found or assumed, for a reader, name -> text.

    Raises:
        UserError: no such source, one that is not read, or a model folder of ours.
    """
    path = Path(source)
    if path.suffix in _SUFFIXES and not path.is_dir():
        model, facts = convert_original(
            path, labels=read_labels(labels), heads=heads, patches=patches, dilation=dilation, say=say
        )
        wide = SIZES
    else:
        if (model_folder(source) / NOTE).is_file():
            raise UserError(
                f"{source}: is a model folder of this package already; `updetr export hf --model {source} "
                f"--out FOLDER` writes one for transformers, `updetr finetune --init {source}` starts from it"
            )
        given = {"labels": labels, "heads": heads, "patches": patches, "dilation": dilation}
        useless = [name for name, value in given.items() if value is not None]
        if useless:
            raise UserError(f"--{useless[0]} is for checkpoint files; {source} says it in config.json")
        found = read_source(source)
        model = build(found)
        put(model, found, say=say)
        facts, wide = _facts(found), found.sizes
    shortest, longest = (asked or own for asked, own in zip(sizes, wide, strict=True))
    if shortest > longest:
        raise UserError(f"the shorter side is {shortest} pixels, and the longer one at most {longest}")
    kept = {"converted from": path.name or source, **facts}
    save_model(out, model, kept, sizes=(shortest, longest), overwrite=overwrite)
    load_model(out, say=say)
    return facts


def read_labels(path: Path | None) -> tuple[str, ...] | None:
    """Names of classes, one a line; None without a file.

    Raises:
        UserError: the file cannot be read, or a line is empty.
    """
    if path is None:
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise UserError(f"{path}:{number}: an empty line; each line is the name of a class")
    return tuple(line.strip() for line in lines)


def _facts(found: Source) -> dict[str, str]:
    config = found.config
    facts = {"tensors": f"{len(found.state)} read, {len(found.left)} left out"}
    if found.left:
        facts["left out"] = ", ".join(sorted({name.split(".")[0] for name in found.left}))
    kind = CLASSES.get(config.arch, config.arch)
    facts["kind"] = f"{kind} with {config.backbone}"
    facts["classes"] = str(len(config.labels))
    return facts
