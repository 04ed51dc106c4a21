"""Progress for verbs; it lives below training, which may not import the command frame."""

from nonet.progress import Progress, progress

__all__ = ["Progress", "progress"]
