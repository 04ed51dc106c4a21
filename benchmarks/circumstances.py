"""What a number is read with: machine, versions, commit, date, command line, load. Source: ours."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_LOAD_AT_START = os.getloadavg()[0] if hasattr(os, "getloadavg") else None  # before our own work adds to it


def circumstances(versions: Sequence[str] = ()) -> dict[str, Any]:
    """Machine, versions, commit, date, command line and load: what numbers are read with."""
    installed = {"python": platform.python_version()}
    for package in versions:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": _command(),
        "commit": _commit(),
        "versions": installed,
        "machine": machine(),
        "load_at_start": _LOAD_AT_START,
    }


def machine() -> dict[str, Any]:
    """The machine without its name: CPU model, cores this process may use, threads, GPU, memory in GiB."""
    cpu = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE)
        cpu = found[1].strip() if found else cpu
    affinity = getattr(os, "sched_getaffinity", None)
    described = {
        "cpu": cpu,
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "torch_threads": None,
        "gpu": None,
    }
    torch = sys.modules.get("torch")  # a benchmark without torch should not wait for it
    if torch is not None:
        described["torch_threads"] = torch.get_num_threads()
        described["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return described


def _command() -> str:
    """The command line with a module by its name and files by their path in the repository."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    words = ["-m", spec.name.removesuffix(".__main__")] if spec else [sys.argv[0]]
    words += sys.argv[1:]
    return " ".join(["python", *(_relative(word) for word in words if word)])


def _relative(word: str) -> str:
    path = Path(word)
    if not path.is_absolute():
        return word
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def _commit() -> str | None:
    """The commit checked out, with "+" where code under version control was changed since."""
    try:
        git = ["git", "-C", str(ROOT)]
        commit = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            [*git, "diff", "--quiet", "HEAD", "--", "*.py", "*.toml"], capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+" if changed.returncode else "")
