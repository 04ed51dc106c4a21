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


@pytest.fixture
def compiles():
    """Compile a kernel for a GPU, on any machine.

    Called with the kernel, the type of its pointers, other types by name, and its constants by name; gives
    the assembly, for compute capability 9.0.
    """

    def assembly(kernel, pointers, types, constants):
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource, compile

        signature = {name: types.get(name, pointers) for name in kernel.arg_names}
        signature |= dict.fromkeys(constants, "constexpr")
        source = ASTSource(kernel, signature=signature, constexprs=constants)
        return compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]

    return assembly
