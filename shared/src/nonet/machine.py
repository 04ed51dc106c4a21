"""What a run and a benchmark ran on: versions, the commit of the source, processor, memory and GPUs."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

LIBRARIES = ("nonet", "torch", "transformers", "lightning", "numpy")


def versions(package: str = "nonet") -> dict[str, str]:
    """Versions of Python, the package, and the libraries that results depend on, as far as installed."""
    found = {"python": platform.python_version()}
    for name in dict.fromkeys((package, *LIBRARIES)):
        loaded = getattr(sys.modules.get(name), "__version__", None)
        try:
            found[name] = str(loaded or version(name.replace("_", "-")))
        except PackageNotFoundError:
            continue
    return found


def commit(package: str) -> dict[str, Any] | None:
    """The commit of the checkout that a package is imported from, and whether tracked files differ from it.

    Returns:
        `{"commit": 40 hexadecimal digits, "dirty": bool}`; None for a package installed elsewhere, or
        without git.
    """
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin:
        return None
    file = Path(spec.origin)
    # A virtual environment often lies inside some checkout: only a file that git tracks belongs to it.
    if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return None
    head = _git(file.parent, "rev-parse", "HEAD")
    changed = _git(file.parent, "status", "--porcelain", "--untracked-files=no")
    return {"commit": head.strip(), "dirty": bool(changed)} if head and changed is not None else None


def machine(*, wake: bool = True) -> dict[str, Any]:
    """Processor, cores that this process may use, memory in GiB, system, and GPU names where torch is loaded.

    Args:
        wake: ask CUDA for the names even if nothing has used it yet. That initialises it, after which the
            process should not be forked; a run asks at its end.
    """
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory(),
        "system": f"{platform.system()} {platform.release()}",
        "gpus": _gpus(wake),
    }


def _git(folder: Path, *words: str) -> str | None:
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            timeout=20,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _gpus(wake: bool) -> list[str]:
    torch = sys.modules.get("torch")
    if torch is None or not (torch.cuda.is_available() if wake else torch.cuda.is_initialized()):
        return []
    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
