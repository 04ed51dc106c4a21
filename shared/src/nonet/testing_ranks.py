"""Tests in two processes that torch.distributed joins: what several devices compute is what one does.

The processes are forks of one that has imported torch, lightning and transformers, which takes seconds.
"""

import functools
import importlib.util
import multiprocessing
import os
import pickle
import shutil
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess


def two_processes(
    function: Callable[..., Any], *arguments: Any, processes: int = 2, timeout: float = 240
) -> list[Any]:
    """Call a function in two processes that torch.distributed joins (gloo, CPU), and collect what it returns.

    `RANK`, `LOCAL_RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT` are set, and the process group is
    there.

    Args:
        function: a module-level function, of a test file or of an installed module.
        *arguments: what to call it with, in both processes; must pickle.
        processes: how many.
        timeout: seconds after which all are killed.

    Returns:
        What each returned, by rank.

    Raises:
        AssertionError: a process failed or took too long; the text has its traceback.
    """
    folder = Path(tempfile.mkdtemp(prefix="nonet-"))
    try:
        module = sys.modules[function.__module__]
        job = (function.__module__, getattr(module, "__file__", None), function.__qualname__)
        (folder / "job").write_bytes(pickle.dumps(job))
        (folder / "arguments").write_bytes(pickle.dumps(arguments))
        port = _free_port()
        children = [_child(folder, rank, processes, port) for rank in range(processes)]
        _wait(children, folder, time.monotonic() + timeout)
        return [pickle.loads((folder / f"result-{rank}").read_bytes()) for rank in range(processes)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _child(folder: Path, rank: int, world: int, port: int) -> "BaseProcess":
    variables = {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    if sys.platform == "linux":
        variables["GLOO_SOCKET_IFNAME"] = "lo"
    here = (os.environ | variables, Path.cwd(), [path for path in sys.path if path])
    child: BaseProcess = _server().Process(target=_serve, args=(folder, rank, *here), daemon=True)
    child.start()
    return child


@functools.cache
def _server() -> Any:
    """Makes processes by a fork of one that has imported what nearly all of them need: that takes seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torch.distributed", "lightning", "transformers"])
    return context


def _wait(children: "list[BaseProcess]", folder: Path, deadline: float) -> None:
    """Wait for all; at the first failure, or after the deadline, kill the rest and say what they printed."""
    trouble = ""
    while not trouble and any(child.exitcode is None for child in children):
        failed = [rank for rank, child in enumerate(children) if child.exitcode not in (None, 0)]
        if failed:
            trouble = f"process {failed[0]} failed"
        elif time.monotonic() > deadline:
            trouble = "the processes took too long"
        else:
            time.sleep(0.02)
    broken = [rank for rank, child in enumerate(children) if child.exitcode]
    trouble = trouble or (f"process {broken[0]} failed" if broken else "")
    for child in children:
        child.kill()
        child.join()
    if trouble:
        printed = [
            f"--- process {rank} ---\n{(folder / f'output-{rank}').read_text(errors='replace')[-4000:]}"
            for rank in range(len(children))
        ]
        raise AssertionError("\n".join([trouble, *printed]))


def _serve(root: Path, rank: int, variables: Mapping[str, str], here: Path, paths: Sequence[str]) -> None:
    """What each of the processes does."""
    with open(root / f"output-{rank}", "wb") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(here)
    sys.path[:] = paths
    import torch
    import torch.distributed as distributed

    world = int(variables["WORLD_SIZE"])
    torch.set_num_threads(1)
    name, file, qualname = pickle.loads((root / "job").read_bytes())
    target: Any = _module(name, file)
    for part in qualname.split("."):
        target = getattr(target, part)
    arguments = pickle.loads((root / "arguments").read_bytes())
    meeting = f"file://{root / 'meeting'}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    try:
        result = target(*arguments)
    except BaseException:
        traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # the other process may wait for this one: no tidy end
    (root / f"result-{rank}").write_bytes(pickle.dumps(result))
    distributed.barrier()
    distributed.destroy_process_group()


def _module(name: str, file: str | None) -> Any:
    """The module by name, or from its file: pytest gives test files names that nobody else can import."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        if file is None:
            raise
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"no module {name} in {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
