"""From the options of pre-training to its images: which can be used, and what was odd about them (ours)."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from nonet.data.images import MAX_PIXELS, find_images, image_size
from nonet.errors import RunFailed, UserError
from nonet.progress import progress
from updetr.image_rows import Note
from updetr.patch_sampling import has_patches
from updetr.pretext_data import PretextData
from updetr.target_boxes import propose_targets, read_targets
from updetr.train_options import PretextOptions

MOST = 0.5  # share of images that may be unusable
SHOWN = 5  # files that are named one by one

Say = Callable[[str], None]


def build_pretext(
    options: PretextOptions,
    *,
    seed: int,
    say: Say,
    folder: Path | None = None,
    writes: bool = True,
    max_pixels: int = MAX_PIXELS,
    keep: int = 0,
    limit: int | None = None,
) -> PretextData:
    """The data of pre-training that the options ask for.

    Every file's header is read; what is no image, too small for patches or too large is left out and said.

    Args:
        options: which images, patches and sizes.
        seed: the run's.
        say: gets the lines to print.
        folder: of the run, where proposals are kept.
        writes: whether this process computes proposals; others wait for them.
        max_pixels: of an image as it is stored.
        keep: MiB of decoded images that are kept in memory.
        limit: the first so many files alone.

    Raises:
        UserError: no images, or a file of targets that is broken or names none of them.
        RunFailed: more than half of the images cannot be used.
    """
    files = find_images(options.images, remark=say)[:limit]
    images = usable_images(files, least=options.min_patch, max_pixels=max_pixels, say=say)
    targets = None
    if options.targets == "file" and options.targets_file is not None:
        targets = read_targets(options.targets_file, images, say=say)
    elif options.targets == "proposals":
        targets = propose_targets(images, folder, writes=writes, say=say)
    data = PretextData(
        images, seed=seed, num_patches=options.num_patches, patch_size=options.patch_size,
        min_patch=options.min_patch, targets=targets, scales=options.scales, longest=options.longest,
        max_pixels=max_pixels, keep=keep,
    )  # fmt: skip
    data.left_out = len(files) - len(images)
    return data


def usable_images(
    images: Sequence[Path], *, least: float, max_pixels: int = MAX_PIXELS, say: Say
) -> list[Path]:
    """Those whose header is that of an image from which patches can be cut.

    Args:
        images: the files.
        least: least side of a patch, in pixels, or below 1 as a share.
        max_pixels: width times height at most.
        say: gets a line for the first files that are left out, and their number.

    Raises:
        RunFailed: they are less than half.
    """
    found: list[Path] = []
    skipped = SkippedImages(len(images), say)
    for path in progress(images, label="looking at images", unit="images"):
        try:
            width, height = image_size(path)
        except UserError as error:
            skipped.note(Note(str(path), str(error).removeprefix(f"{path}: "), True))
            continue
        if width * height > max_pixels:
            skipped.note(
                Note(str(path), f"{width} x {height} pixels are more than the {max_pixels:,} allowed", True)
            )
        elif not has_patches(width, height, least):
            skipped.note(
                Note(str(path), f"{width} x {height} px are too few for patches of {least:g} px", True)
            )
        else:
            found.append(path)
    skipped.check()
    if skipped.files:
        say(f"{len(skipped.files):,} of {len(images):,} images are left out")
    return found


class SkippedImages:
    """An account of the files that could not be used, or were read otherwise than they are stored.

    Args:
        count: of the images.
        say: gets a line for each of the first ones.
        before: of the images, how many were left out already.
    """

    def __init__(self, count: int, say: Say, before: int = 0) -> None:
        self.count, self.say, self.before = count, say, before
        self.files: dict[str, str] = {}
        self.remarks: dict[str, str] = {}

    def add(self, notes: Iterable[Note]) -> None:
        """What a batch says.

        Raises:
            RunFailed: more than half of all images cannot be used.
        """
        before = len(self.files)
        for note in notes:
            self.note(Note(*note))
        if len(self.files) > before:
            self.check()

    def note(self, note: Note) -> None:
        """One file; what was said about it before is not said again."""
        known = self.files if note.skipped else self.remarks
        if note.file in known:
            return
        known[note.file] = note.text
        if len(known) <= SHOWN:
            self.say(f"{note.file}: {note.text}" + (" (left out)" if note.skipped else ""))
        elif len(known) == SHOWN + 1:
            self.say("more files are " + ("left out" if note.skipped else "read otherwise than stored"))

    def check(self) -> None:
        """Refuse to go on with less than half.

        Raises:
            RunFailed: more than half of the images cannot be used.
        """
        found = self.before + len(self.files)
        if found > MOST * self.count:
            name, text = next(iter(self.files.items()))
            raise RunFailed(f"{found:,} of {self.count:,} images cannot be used, such as {name}: {text}")
