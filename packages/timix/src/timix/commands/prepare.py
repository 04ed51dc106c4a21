"""The verb `prepare`: pairs and regions are checked, thinned and packed; captions give a tokenizer."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nonet.errors import UserError

if TYPE_CHECKING:
    from nonet.data.image_text_pairs import PairTable


@dataclass(frozen=True, kw_only=True)
class Options:
    """Check images and captions, leave out what cannot be used, and write the rest as JSON lines or tar
    shards; learn a tokenizer; put in wrong captions on purpose."""

    pairs: tuple[str, ...]
    """JSON or JSON lines with image and caption, CSV, captions.txt of Flickr8k, captions_*.json of COCO,
    dataset_*.json of Karpathy, tar shards (also web/{00000..00031}.tar, or their folder)"""
    out: Path
    """folder to write: pairs.jsonl or shards, problems.txt, prepare.json, and what is asked for"""
    images: Path | None = None
    """folder that image paths are below; none: looked for near each file"""
    split: str | None = None
    """of a dataset_*.json, such as train+restval; none: all"""
    val: tuple[str, ...] = ()
    """pairs to measure on: none of their images may be among the others"""
    on_bad: Literal["raise", "skip"] = "raise"
    """skip leaves out records that cannot be read, and counts them"""
    check: Literal["decode", "exists", "none"] = "decode"
    """how each image is looked at; decode also finds equal files, which become one image"""
    max_words: int = 30
    """words of a caption that stay; 0: all"""
    share: float = 1.0
    """of the images that stay, drawn at random; smaller shares are parts of larger ones"""
    corrupt_captions: float = 0.0
    """share of the captions that are replaced by those of other images, for studies of noise; they are
    listed in wrong_captions.jsonl"""
    seed: int = 0
    """of the share and of the wrong captions"""
    vocabulary: int = 0
    """word pieces of a tokenizer to learn from the captions, in OUT/tokenizer; 0: none"""
    tokenizer: str | None = None
    """folder or hub name of a tokenizer to count word pieces with; none: the one learnt, if any"""
    max_length: int = 20
    """word pieces of a text with both ends that training will keep, to count longer ones"""
    shard_size: int = 0
    """pairs in a tar shard of OUT/shards; 0: pairs.jsonl, which names the images where they are"""
    workers: int = 0
    """processes that look at images; 0 does it in this one"""
    overwrite: bool = False
    """replace what an earlier call wrote to OUT"""

    def __post_init__(self) -> None:
        if not self.pairs:
            raise UserError("pairs is empty; name at least one file or shard")
        for name, least in (
            ("max_words", 0),
            ("vocabulary", 0),
            ("shard_size", 0),
            ("workers", 0),
            ("seed", 0),
        ):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it is {least} or more")
        if not 0 < self.share <= 1:
            raise UserError(f"share is {self.share:g}; it is above 0 and at most 1")
        if not 0 <= self.corrupt_captions <= 1:
            raise UserError(f"corrupt_captions is {self.corrupt_captions:g}; it lies in 0..1")
        if self.max_length < 3:
            raise UserError(f"max_length is {self.max_length}; two ends and a word piece are at least 3")
        if self.vocabulary and self.tokenizer:
            raise UserError("vocabulary learns a tokenizer, tokenizer names one: give one of the two")


def run(options: Options) -> int:
    """Read, check and write; the account is printed and is in prepare.json."""
    from nonet.data.caption_noise import corrupt_captions
    from nonet.data.image_text_pairs import read_pairs, refuse_overlap
    from nonet.data.pair_check import check_images, merge_same_files
    from nonet.vision_language.pair_preparation import some_of

    _refuse_old(options)
    table = read_pairs(
        options.pairs, folder=options.images, split=options.split, max_words=options.max_words,
        on_bad=options.on_bad,
    )  # fmt: skip
    if options.val:
        val = read_pairs(options.val, folder=options.images, on_bad=options.on_bad)
        refuse_overlap(table, val, "validation")
    if not options.shard_size and any(table.path(item) is None for item in range(len(table))):
        raise UserError("pairs in shards are written as shards: give shard_size")
    checked = check_images(table, options.check, workers=options.workers)
    table, same = merge_same_files(table, checked.digests)
    left_out = dict(table.left_out)
    if checked.problems:
        left_out["images that cannot be read"] = int((~checked.readable).sum())
        if not checked.readable.any():
            raise UserError(f"no image can be read; the first problem: {checked.problems[0]}")
        table = table.take(checked.readable.nonzero()[0])
    if options.share < 1:
        table = some_of(table, options.share, options.seed)
    clean = table
    table, wrong = corrupt_captions(table, options.corrupt_captions, options.seed)
    tokenizer = _tokenizer(options, clean)
    account: dict[str, Any] = {
        "pairs": list(options.pairs), "items": len(table), "images": len(set(table.numbers.tolist())),
        "captions": len(table.captions), "left_out": left_out, "equal_files": same,
        "wrong_captions": len(wrong), "seed": options.seed, "share": options.share,
    }  # fmt: skip
    if tokenizer is not None:
        from nonet.vision_language.pair_preparation import word_piece_counts

        counts = word_piece_counts(clean.captions, tokenizer, options.max_length)
        account["word_pieces"] = {"vocabulary": len(tokenizer), "max_length": options.max_length} | counts
    _write(options, table, tokenizer, account, checked.problems, wrong)
    for line in _lines(options, account):
        print(line)
    return 0


def _refuse_old(options: Options) -> None:
    held = sorted(path.name for path in options.out.iterdir()) if options.out.is_dir() else []
    if options.out.exists() and not options.out.is_dir():
        raise UserError(f"{options.out}: is a file; name a folder")
    if held and not options.overwrite:
        raise UserError(
            f"{options.out}: holds {', '.join(held[:4])}; name another folder, or say --overwrite"
        )
    if held and "prepare.json" not in held:
        raise UserError(f"{options.out}: was not written by prepare (no prepare.json); name another folder")


def _tokenizer(options: Options, table: "PairTable") -> Any:
    """The tokenizer that was asked for, learnt from true captions; None for none."""
    if options.tokenizer is not None:
        from nonet.vision_language.caption_tokenizer import named_tokenizer

        return named_tokenizer(options.tokenizer)
    if options.vocabulary:
        from nonet.vision_language.caption_tokenizer import train_tokenizer

        return train_tokenizer(table.captions, options.vocabulary)
    return None


def _write(
    options: Options, table: "PairTable", tokenizer: Any, account: dict[str, Any], problems: list[str],
    wrong: list[Any],
) -> None:  # fmt: skip
    import shutil

    from nonet.files import write_json, write_text
    from nonet.progress import Progress, progress
    from nonet.vision_language.pair_preparation import write_pairs, write_shards, write_wrong_captions

    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    for name in ("shards", "tokenizer"):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in ("pairs.jsonl", "problems.txt", "wrong_captions.jsonl", "prepare.json"):
        (out / name).unlink(missing_ok=True)
    if options.shard_size:
        bar: Progress[Any] = progress(total=len(table), label="packing", unit="pairs")
        with bar:
            write_shards(table, out / "shards", options.shard_size, bar.advance)
    else:
        write_pairs(table, out / "pairs.jsonl")
    if options.vocabulary:
        tokenizer.save_pretrained(out / "tokenizer")
    if wrong:
        write_wrong_captions(wrong, out / "wrong_captions.jsonl")
    if problems:
        write_text(out / "problems.txt", "\n".join(problems) + "\n")
    write_json(out / "prepare.json", account)


def _lines(options: Options, account: dict[str, Any]) -> list[str]:
    where = options.out / ("shards" if options.shard_size else "pairs.jsonl")
    items, images, captions = (account[name] for name in ("items", "images", "captions"))
    lines = [f"{where}: {items:,} items of {images:,} images, {captions:,} captions"]
    lines += [f"  left out: {count:,} {what}" for what, count in sorted(account["left_out"].items())]
    if account["left_out"].get("images that cannot be read"):
        lines.append(f"  they are listed in {options.out / 'problems.txt'}")
    if account["equal_files"]:
        lines.append(
            f"  {account['equal_files']:,} images have the same bytes as another: one image from now on"
        )
    if account["wrong_captions"]:
        lines.append(
            f"  wrong on purpose: {account['wrong_captions']:,} captions, listed in "
            f"{options.out / 'wrong_captions.jsonl'}"
        )
    pieces = account.get("word_pieces")
    if pieces:
        name = options.tokenizer or options.out / "tokenizer"
        lines += [
            f"{name}: {pieces['vocabulary']:,} word pieces",
            f"  a caption has {pieces['mean']:.1f} on average, {pieces['longest']:,} at most; "
            f"{pieces['cut_off']:,} captions are longer than max_length {pieces['max_length']}; "
            f"unknown: {pieces['unknown']:.2%}",
        ]
    return lines
