"""The verb `locate`: where a crop lies in an image, by a model that has seen no label."""

from dataclasses import dataclass, field
from pathlib import Path

from nonet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Find crops in an image with a pre-trained model; a line for each on standard output."""

    image: Path = field(metadata={"positional": True})
    """the image to look in"""
    model: str
    """folder or hub name of a pre-trained model, or folder of a `pretrain` run"""
    patch: tuple[str, ...] = ()
    """crops of the image itself: x,y,width,height in pixels, any number of them; the boxes that are found are
    printed as xyxy: left, top, right, bottom"""
    patch_file: tuple[Path, ...] = ()
    """pictures to look for, any number of them"""
    top: int = 1
    """boxes of each patch, the surest first; at most queries / patches of the model"""
    score: float = 0.0
    """least score of a box, 0..1; the paper shows those above 0.9"""
    scale: int | None = None
    """shorter side of the image as the model sees it, pixels; none: as the model was trained"""
    longest: int | None = None
    """longer side at most, pixels; none: as the model was trained"""
    patch_size: int | None = None
    """side of a patch as the model sees it, pixels; none: as the model was trained, else 128"""
    out: Path | None = None
    """folder for located.json and located.png; none: only lines"""
    device: str = "auto"
    """cpu, cuda, cuda:1; auto: the first GPU, else the CPU"""

    def __post_init__(self) -> None:
        if not self.patch and not self.patch_file:
            raise UserError("name what to look for: --patch x,y,width,height or --patch-file PICTURE")
        if self.top < 1:
            raise UserError(f"top is {self.top}; it is 1 or more")
        if not 0 <= self.score <= 1:
            raise UserError(f"score is {self.score:g}; it lies in 0..1")
        for name in ("scale", "longest", "patch_size"):
            value = getattr(self, name)
            if value is not None and value < 16:
                raise UserError(f"{name} is {value}; it is at least 16 pixels")


def run(options: Options) -> int:
    """Print a line for each box; 1 where a patch has none."""
    import sys

    from nonet.data.images import open_image
    from nonet.files import replacing, write_json
    from nonet.training.devices import pick_device
    from updetr.located_picture import located
    from updetr.locating import Found, locate, locator, overlap, parse_box
    from updetr.model_folders import model_folder, read_config_of, read_note
    from updetr.training_facts import pretext_sizes

    device = pick_device(options.device)
    folder = model_folder(options.model)
    config, (short, longest) = read_config_of(folder)
    note = read_note(folder)
    patch_size = options.patch_size or pretext_sizes(config, note[2] if note else {}).patch_size
    image = open_image(options.image, remark=lambda text: print(text, file=sys.stderr))
    cut = [parse_box(text, image.size) for text in options.patch]
    patches = [image.crop((x, y, x + width, y + height)) for x, y, width, height in cut]
    patches += [open_image(path) for path in options.patch_file]
    model = locator(options.model, device)
    short, longest = options.scale or short, options.longest or longest
    found = locate(model, image, patches, short=short, longest=max(short, longest), patch_size=patch_size)
    found = [Found(*(part[: options.top][places.scores[: options.top] >= options.score] for part in places))
             for places in found]  # fmt: skip
    each = config.queries // config.patches
    if options.top > each:
        print(f"top is {options.top}, and {options.model} has {each} boxes for each patch", file=sys.stderr)
    names = [*options.patch, *map(str, options.patch_file)]
    rows = []
    for number, (name, places) in enumerate(zip(names, found, strict=True)):
        if not len(places.scores):
            print(f"{name}: not found with a score of {options.score:g} or more")
        for box, score in zip(places.boxes.tolist(), places.scores.tolist(), strict=True):
            row = {"patch": name, "box": [round(value, 2) for value in box], "score": round(score, 4)}
            line = f"{name}: " + ", ".join(f"{value:.1f}" for value in box) + f" (xyxy), score {score:.3f}"
            if number < len(cut):
                x, y, width, height = cut[number]
                row["iou"] = round(overlap(box, (x, y, x + width, y + height)), 4)
                line += f", overlap {row['iou']:.2f}"
            rows.append(row)
            print(line)
    if options.out is not None:
        page = located(image, patches, found, [*cut, *[None] * len(options.patch_file)])
        with replacing(options.out / "located.png") as part:
            page.save(part, format="PNG")
        about = {"image": str(options.image), "model": options.model, "size": image.size, "found": rows}
        write_json(options.out / "located.json", about)
    return 0 if all(len(places.scores) for places in found) else 1
