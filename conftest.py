"""Settings of the test run itself: threads, no network for hubs, the same examples each time, few skips.

It lies at the root so that every package's tests have it, also where a package is tested alone.
"""

import importlib.util
import os
import signal
from collections.abc import Iterator

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting `skips_allowed`."""
    parser.addini("skips_allowed", "how many skipped tests CI accepts when it runs all tests", default="0")


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


def too_many_skips(config: pytest.Config) -> str:
    """Say what is wrong if CI ran all tests and skipped more than it may; else nothing."""
    if not os.environ.get("CI") or config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return ""
    if config.option.keyword or config.option.markexpr or hasattr(config, "workerinput"):
        return ""  # a part of the tests, or a worker beside others
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    skipped, allowed = len(reporter.stats.get("skipped", [])), int(config.getini("skips_allowed"))
    if skipped <= allowed:
        return ""
    return f"{skipped} tests were skipped, and {allowed} may be (skips_allowed in pyproject.toml)"


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
