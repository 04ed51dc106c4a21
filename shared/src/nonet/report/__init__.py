"""Reports as single HTML files; matplotlib loads when the first plot is drawn."""

from nonet.report.page import Page
from nonet.report.run_page import run_page

__all__ = ["Page", "run_page"]
