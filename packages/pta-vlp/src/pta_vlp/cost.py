"""What the vision tower costs: multiply-accumulates by tokens, width, blocks, and texts that share an image.

A block of a vision transformer takes, with n tokens of width d and 4 d hidden units, 12 n d^2 + 2 n^2 d of
them (half as many as FLOPs). Behind the selection n shrinks from 1 + N to 2 + k; the trunk before it runs
once for all texts. Embedding of patches, norms and activations are left out: under 2 % of ViT-B/16.

Plain arithmetic: no torch.
"""

from typing import TYPE_CHECKING, NamedTuple

from pta_vlp.select_options import SelectOptions, kept_count

if TYPE_CHECKING:
    from nonet.vision_language.vision import VisionTower


class Tower(NamedTuple):
    """Sizes of a vision transformer.

    Attributes:
        patches: N, of an image.
        width: d, of a token.
        depth: number of blocks.
        hidden: units of a block's feed-forward part; 0: 4 d.
    """

    patches: int
    width: int = 768
    depth: int = 12
    hidden: int = 0


def tower_of(vision: "VisionTower") -> Tower:
    """Sizes of a tower, at the size of image that it takes now."""
    rows, columns = vision.grid
    return Tower(rows * columns, vision.width, vision.depth, vision.vit.blocks[0].mlp.fc1.out_features)


def block_macs(tokens: int, width: int = 768, hidden: int = 0) -> int:
    """Multiply-accumulates of one block: projections 4 n d^2, attention 2 n^2 d, feed-forward 2 n d hidden.

    Args:
        tokens: n, with CLS.
        width: d.
        hidden: 0: 4 d.
    """
    return tokens * width * (4 * width + 2 * (hidden or 4 * width) + 2 * tokens)


def full_macs(tower: Tower) -> int:
    """Of all blocks with all tokens: 17.45e9 for ViT-B/16 at 224 pixels."""
    return tower.depth * block_macs(1 + tower.patches, tower.width, tower.hidden)


def detector_macs(tower: Tower, text_width: int | None = None) -> tuple[int, int]:
    """Of the patch detector: once per image, and once per pair of image and text.

    Args:
        tower: whose patches it looks at.
        text_width: of the text's CLS; None: the tower's.
    """
    N, d, half = tower.patches, tower.width, tower.width // 2
    image = N * d * d + N * half * half + half * half
    text = (d if text_width is None else text_width) * half
    return image, text + N * (half * (d // 4) + 2 * (d // 4))


def pruned_macs(
    tower: Tower, options: SelectOptions, *, texts: float = 1, shared: bool = True, detector: bool = True
) -> float:
    """Multiply-accumulates of one pair of an image and a text.

    Args:
        tower: its sizes.
        options: of the selection.
        texts: about each image, on average.
        shared: the trunk runs once per image; otherwise once per pair.
        detector: count it too, where it is asked; the table of the paper's reading counts blocks only.
    """
    if options.selection == "off" or options.keep == 1:
        return full_macs(tower) / (texts if shared else 1)
    before, share = options.block + 1, texts if shared else 1
    trunk = before * block_macs(1 + tower.patches, tower.width, tower.hidden)
    rest = (tower.depth - before) * block_macs(kept_tokens(tower, options), tower.width, tower.hidden)
    of_image, of_pair = detector_macs(tower) if detector and options.by_text else (0, 0)
    if options.late:  # dropped behind all blocks
        return (full_macs(tower) + of_image) / share + of_pair
    if not options.by_text:  # finished once per image, too
        return (trunk + rest) / share
    return (trunk + of_image) / share + rest + of_pair


def kept_tokens(tower: Tower, options: SelectOptions) -> int:
    """Tokens behind the selection: CLS, the kept patches and the fused token."""
    if options.selection == "off" or options.keep == 1:
        return 1 + tower.patches
    return 1 + kept_count(options.keep, tower.patches) + options.fuse


def speed_up(
    tower: Tower, options: SelectOptions, *, texts: int = 1, shared: bool = True, detector: bool = False
) -> float:
    """How many times as much the full tower costs for each pair: 1.34 for ViT-B/16 at 224 pixels, keep 0.5.

    A full tower does not know the text: whoever keeps its tokens for all texts pays it once per image, and
    `shared_speed_up` compares with that.
    """
    return full_macs(tower) / pruned_macs(tower, options, texts=texts, shared=shared, detector=detector)


def shared_speed_up(tower: Tower, options: SelectOptions, *, texts: int, detector: bool = False) -> float:
    """The same against a full tower that runs once per image: below 1 from a number of texts on, as only the
    selection by text runs for each of them. What selection saves behind the tower is not counted.
    """
    return speed_up(tower, options, texts=texts, detector=detector) / texts
