"""What the verb `prepare` does with pairs and with regions: read, check, then write (ours).

Nothing is written before all is read and checked, so that a mistake leaves no file behind.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonet.errors import UserError

if TYPE_CHECKING:
    from nonet.data.image_text_pairs import PairTable
    from nonet.vision_language.prepare_options import PrepareOptions
    from nonet.vision_language.region_files import RegionTable


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Pairs or regions that are ready to be written.

    Attributes:
        write: writes them into a folder.
        account: numbers for prepare.json.
        problems: a line for each thing that is wrong, with its file and line.
        lines: what to print.
    """

    write: Callable[[Path], None]
    account: dict[str, Any]
    problems: list[str]
    lines: list[str]


def prepare_data(options: "PrepareOptions", say: Callable[[str], None] = print) -> None:
    """Read, check and write what the options ask for.

    Args:
        options: of the verb.
        say: takes the account, which is in prepare.json, too.

    Raises:
        UserError: a file is missing or broken, nothing is left, the folder holds something, or images are
            measured on, too; nothing is written then.
    """
    from nonet.files import write_json, write_text

    _refuse_old(options.out, options.overwrite)
    val = validation_pairs(options)
    parts = [prepared_pairs(options, val)] if options.pairs else []
    parts += [prepared_regions(options, val)] if options.regions else []
    _clear(options.out)
    account: dict[str, Any] = {"seed": options.seed}
    for part in parts:
        part.write(options.out)
        account |= part.account
    problems = [line for part in parts for line in part.problems]
    if problems:
        write_text(options.out / "problems.txt", "\n".join(problems) + "\n")
    write_json(options.out / "prepare.json", account)
    for part in parts:
        say("\n".join(part.lines))
    if problems:
        say(f"{options.out / 'problems.txt'}: {len(problems):,} lines on what is wrong")


def validation_pairs(options: "PrepareOptions") -> "PairTable | None":
    """The pairs to measure on."""
    from nonet.data.image_text_pairs import read_pairs

    if not options.val:
        return None
    return read_pairs(options.val, folder=options.images, on_bad=options.on_bad)


def prepared_pairs(options: "PrepareOptions", val: "PairTable | None") -> Prepared:
    """The pairs, checked, thinned and with wrong captions as asked for.

    Raises:
        UserError: nothing is left, an image is in `val` too, or pairs of shards are to be written as lines.
    """
    from nonet.data.caption_noise import corrupt_captions
    from nonet.data.image_text_pairs import read_pairs, refuse_overlap
    from nonet.data.pair_check import check_images, merge_same_files
    from nonet.vision_language.pair_preparation import some_of, word_piece_counts

    table = read_pairs(
        options.pairs, folder=options.images, split=options.split, max_words=options.max_words,
        on_bad=options.on_bad,
    )  # fmt: skip
    if val is not None:
        refuse_overlap(table, val, "validation")
    if not options.shard_size and (table.spans[:, 0] >= 0).any():
        raise UserError("pairs in shards are written as shards: give shard_size")
    checked = check_images(table, options.check, workers=options.workers)
    table, same = merge_same_files(table, checked.digests)
    left_out = dict(table.left_out)
    if checked.problems:
        left_out["images that cannot be read"] = int((~checked.readable).sum())
        if not checked.readable.any():
            raise UserError(f"no image can be read; the first problem: {checked.problems[0]}")
        table = table.take(checked.readable.nonzero()[0])
    clean = some_of(table, options.share, options.seed) if options.share < 1 else table
    table, wrong = corrupt_captions(clean, options.corrupt_captions, options.seed)
    tokenizer = _tokenizer(options, clean)
    account: dict[str, Any] = {
        "pairs": list(options.pairs), "items": len(table), "images": len(set(table.numbers.tolist())),
        "captions": len(table.captions), "left_out": left_out, "equal_files": same,
        "wrong_captions": len(wrong), "share": options.share,
    }  # fmt: skip
    if tokenizer is not None:
        counts = word_piece_counts(clean.captions, tokenizer, options.max_length)
        account["word_pieces"] = {"vocabulary": len(tokenizer), "max_length": options.max_length} | counts

    def write(out: Path) -> None:
        _write_pairs(options, out, table, wrong)
        if options.vocabulary:
            tokenizer.save_pretrained(out / "tokenizer")

    return Prepared(
        write=write, account=account, problems=checked.problems, lines=_lines_on_pairs(options, account)
    )


def prepared_regions(options: "PrepareOptions", val: "PairTable | None") -> Prepared:
    """The regions, checked against their images.

    Raises:
        UserError: there are none, or an image is in `val` too.
    """
    from nonet.vision_language.region_check import check_regions
    from nonet.vision_language.region_files import FILE
    from nonet.vision_language.region_preparation import refuse_shared_files, region_tables, write_regions

    tables = region_tables(
        options.regions, folder=options.region_images, boxes=options.region_boxes,
        split=options.region_split, max_words=options.max_words,
    )  # fmt: skip
    if val is not None:
        refuse_shared_files(tables, val, "validation")
    account: dict[str, Any] = {"regions": {}}
    problems: list[str] = []
    lines: list[str] = []
    written: list[RegionTable] = []
    for source, table in zip(options.regions, tables, strict=True):
        report = check_regions(table, min_visible=options.min_visible)
        defects = dict(report.defects.counts)
        account["regions"][source] = {"images": report.images, "boxes": report.boxes, "left_out": defects}
        problems += report.defects.lines
        said = report.said()[len(report.defects.lines) :]
        lines += [f"{source}:", *(f"  {line}" for line in said)]
        if (table.kinds == FILE).all():
            written.append(table)
        else:
            lines.append("  holds its images: train on it as it is")
    if written:
        images = sum(map(len, written))
        lines.append(f"{options.out / 'regions.jsonl'}: regions of {images:,} images")

    def write(out: Path) -> None:
        if written:
            write_regions(written, out / "regions.jsonl")

    return Prepared(write=write, account=account, problems=problems, lines=lines)


def _refuse_old(out: Path, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; name a folder")
    held = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if held and not overwrite:
        raise UserError(f"{out}: holds {', '.join(held[:4])}; name another folder, or say --overwrite")
    if held and "prepare.json" not in held:
        raise UserError(f"{out}: was not written by prepare (no prepare.json); name another folder")


def _clear(out: Path) -> None:
    """Make the folder, without what an earlier call wrote."""
    import shutil

    out.mkdir(parents=True, exist_ok=True)
    for name in ("shards", "tokenizer"):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in ("pairs.jsonl", "regions.jsonl", "problems.txt", "wrong_captions.jsonl", "prepare.json"):
        (out / name).unlink(missing_ok=True)


def _tokenizer(options: "PrepareOptions", table: "PairTable") -> Any:
    """The tokenizer that was asked for, learnt from true captions; None for none."""
    from nonet.vision_language.caption_tokenizer import named_tokenizer, train_tokenizer

    if options.tokenizer is not None:
        return named_tokenizer(options.tokenizer)
    return train_tokenizer(table.captions, options.vocabulary) if options.vocabulary else None


def _write_pairs(options: "PrepareOptions", out: Path, table: "PairTable", wrong: list[Any]) -> None:
    from nonet.progress import Progress, progress
    from nonet.vision_language.pair_preparation import write_pairs, write_shards, write_wrong_captions

    if options.shard_size:
        bar: Progress[Any] = progress(total=len(table), label="packing", unit="pairs")
        with bar:
            write_shards(table, out / "shards", options.shard_size, bar.advance)
    else:
        write_pairs(table, out / "pairs.jsonl")
    if wrong:
        write_wrong_captions(wrong, out / "wrong_captions.jsonl")


def _lines_on_pairs(options: "PrepareOptions", account: dict[str, Any]) -> list[str]:
    where = options.out / ("shards" if options.shard_size else "pairs.jsonl")
    items, images, captions = (account[name] for name in ("items", "images", "captions"))
    lines = [f"{where}: {items:,} items of {images:,} images, {captions:,} captions"]
    lines += [f"  left out: {count:,} {what}" for what, count in sorted(account["left_out"].items())]
    if account["equal_files"]:
        lines.append(
            f"  {account['equal_files']:,} images have the same bytes as another: one image from now on"
        )
    if account["wrong_captions"]:
        log = options.out / "wrong_captions.jsonl"
        lines.append(f"  wrong on purpose: {account['wrong_captions']:,} captions, listed in {log}")
    pieces = account.get("word_pieces")
    if pieces:
        lines += [
            f"{options.tokenizer or options.out / 'tokenizer'}: {pieces['vocabulary']:,} word pieces",
            f"  a caption has {pieces['mean']:.1f} on average, {pieces['longest']:,} at most; "
            f"{pieces['cut_off']:,} captions are longer than max_length {pieces['max_length']}; "
            f"unknown: {pieces['unknown']:.2%}",
        ]
    return lines
