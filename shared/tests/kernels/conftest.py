"""What the tests of kernels share: a file's tests once more, in the kernels' Triton form on the CPU."""

import os
import subprocess
import sys

import pytest


@pytest.fixture
def passes_in_triton():
    """Run a test file with Triton's interpreter, with more options of pytest; its output is the error's."""

    def again(file, *options):
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", file, "-qx", "-pno:cacheprovider", *options],
            capture_output=True,
            text=True,
            env=os.environ | {"NONET_KERNELS": "triton", "TRITON_INTERPRET": "1"},
        )
        assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
        assert " passed" in ran.stdout

    return again
