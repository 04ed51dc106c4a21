"""The verb `serve`: the page of the whole catalogue, on a port of this machine."""

from dataclasses import dataclass

from vlp_atlas.catalogue_options import CatalogueOptions


@dataclass(frozen=True, kw_only=True)
class Options(CatalogueOptions):
    """Serve the page of build-site to this machine alone, until Ctrl-C; nothing is written to the disk."""

    port: int = 8000
    """port on 127.0.0.1; if it is taken, the next free one"""
    open: bool = False
    """open a browser"""


def run(options: Options) -> int:
    """Serve until interrupted."""
    from vlp_atlas.serving import serve
    from vlp_atlas.site import page

    return serve(page(options.load()), port=options.port, open_browser=options.open)
