"""The verb `build-site`: the page of the whole catalogue."""

from dataclasses import dataclass, field
from pathlib import Path

from vlp_atlas.catalogue_options import CatalogueOptions


@dataclass(frozen=True, kw_only=True)
class Options(CatalogueOptions):
    """Write one HTML file with the whole catalogue: search, filters, permalinks, every fact with its source.

    It opens from the disk and needs neither a server nor a network. The page itself has a switch for facts
    from memory; --unverified only sets how it stands at first.
    """

    folder: Path = field(default=Path("site"), metadata={"positional": True})
    """folder to write index.html into"""
    force: bool = False
    """write over an index.html that is there"""


def run(options: Options) -> int:
    """Write the page."""
    from nonet.errors import UserError
    from nonet.files import write_text
    from vlp_atlas.site import page

    path = options.folder / "index.html"
    if path.exists() and not options.force:
        raise UserError(f"{path}: is there already; --force writes over it")
    text = page(options.load())
    write_text(path, text)
    print(f"{path}: {len(text.encode()) / 1e6:.2f} MB; open it in a browser")
    return 0
