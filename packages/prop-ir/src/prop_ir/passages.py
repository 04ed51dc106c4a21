"""Windows of a long document (Dai and Callan 2019: MaxP takes the highest score of a document's passages)."""


def windows(length: int, size: int, stride: int = 0) -> list[slice]:
    """Overlapping windows that cover a document; one, if it fits.

    Args:
        length: pieces of the document.
        size: pieces of a window, at least 1.
        stride: pieces from one beginning to the next, at most `size`; 0: half of it.

    Returns:
        Slices in order. All are of `size` pieces: the last one ends with the document and overlaps more.
    """
    if length <= size:
        return [slice(0, length)]
    step = min(stride or max(1, size // 2), size)
    starts = [*range(0, length - size, step), length - size]
    return [slice(start, start + size) for start in starts]
