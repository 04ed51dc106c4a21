"""Settings of the test run itself: threads, order, no network for hubs, the same examples, few skips.

It lies at the root so that every package's tests have it, also where a package is tested alone.
"""

import importlib.util
import os
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

HOUSE = (
    "tests/"  # what concerns all packages: a manual or a demo may take minutes there, and they share nothing
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting `skips_allowed` and the option `--twice`."""
    parser.addoption(
        "--twice", action="store_true", help="run every demo again: it must give the same numbers (minutes)"
    )
    parser.addini(
        "skips_allowed",
        "how many skipped tests CI accepts when it runs all tests; those that need a GPU are not counted",
        default="0",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Set what must stand before torch, matplotlib or a model hub's client is imported."""
    threads = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"  # side by side, one core for each worker
    for name, value in {"OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg"}.items():
        os.environ.setdefault(name, value)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so it is below `nohup` and `&`, and tests send it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if importlib.util.find_spec("hypothesis"):
        from hypothesis import settings

        settings.register_profile("house", derandomize=True, deadline=None)
        settings.load_profile("house")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Side by side, what takes long begins first, or all but one worker would wait for it at the end."""
    if not hasattr(config, "workerinput"):
        return
    tests, slow = Counter(map(_file, items)), Counter(_file(item) for item in items if _slow(item))

    def place(item: pytest.Item) -> tuple[int, int, int]:
        if _file(item).startswith(HOUSE):
            return (0 if _slow(item) else 2, 0, 0)
        return (1, -slow[_file(item)], -tests[_file(item)])

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadfile`, keep the order above, and let the tests of all packages go to any worker."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        """A file of a package stays with one worker, so that what its tests share is made once."""

        def _split_scope(self, nodeid: str) -> str:
            return nodeid if nodeid.startswith(HOUSE) else super()._split_scope(nodeid)

    config.option.loadscopereorder = False
    return Scheduling(config, log)


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def _slow(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is not None


def too_many_skips(config: pytest.Config) -> str:
    """Say what is wrong if CI ran all tests and skipped more than it may; else nothing."""
    if not os.environ.get("CI") or config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return ""
    if config.option.keyword or config.option.markexpr or hasattr(config, "workerinput"):
        return ""  # a part of the tests, or a worker beside others
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    counted = [report for report in reporter.stats.get("skipped", []) if not _for_want_of_a_gpu(report)]
    skipped, allowed = len(counted), int(config.getini("skips_allowed"))
    if skipped <= allowed:
        return ""
    return f"{skipped} tests were skipped, and {allowed} may be (skips_allowed in pyproject.toml)"


def _for_want_of_a_gpu(report: pytest.TestReport) -> bool:
    return "gpu" in report.keywords and "needs a CUDA device" in str(report.longrepr)


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Fail a run of CI that skipped too much: a condition that is always true would hide there."""
    if session.exitstatus == pytest.ExitCode.OK and too_many_skips(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print why, above the last line."""
    if text := too_many_skips(config):
        terminalreporter.write_line(f"FAILED: {text}", red=True)
