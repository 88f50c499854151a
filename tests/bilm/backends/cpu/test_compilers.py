"""The kernels under GCC and Clang, for this processor, emulated ones and macOS: a C++
program compares them with plain loops."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import spacy_elmo.bilm.backends.cpu as cpu

HEADERS = Path(cpu.__file__).parent
SOURCE = Path(__file__).with_name("check_kernels.cc")
FLAGS = ["-O2", "-std=c++17", "-ffp-contract=fast", "-Wno-psabi", f"-I{HEADERS}"]

# Debian's cross compiler provides the headers; Apple's are not available.
ARM_HEADERS = Path("/usr/aarch64-linux-gnu/include")
FOR_MACOS = [
    *("--target=arm64-apple-macos11", "-D_GNU_SOURCE", "-U__nonnull", "-nostdinc++"),
    *("-isystem", str(ARM_HEADERS / "c++/12")),
    *("-isystem", str(ARM_HEADERS / "c++/12/aarch64-linux-gnu")),
    *("-isystem", str(ARM_HEADERS)),
]
SYSCTL = """
#include <cstddef>
extern "C" int sysctlbyname(const char*, void*, size_t*, void*, size_t);
"""

ARM = {
    "cortex-a72": ["neon", "neon, int8", "neon, float16"],
    "max": ["neon", "neon, int8", "neon_dotprod", "neon_bf16", "neon, float16"],
}

pytestmark = pytest.mark.slow


def compile_checks(to: Path, compiler: str, *flags: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    command = [compiler, *FLAGS, *flags, str(SOURCE), "-o", str(to)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def sets_checked(*command: str) -> list[str]:
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.splitlines()


@pytest.mark.parametrize(
    ("compiler", "flags"), [("g++", ["-fopenmp"]), ("clang++", [])]
)
def test_this_processor(tmp_path: Path, compiler: str, flags: list[str]) -> None:
    program = tmp_path / "check_kernels"
    compile_checks(program, compiler, *flags)
    assert sets_checked(str(program))


@pytest.mark.parametrize(
    ("compiler", "flags"),
    [
        ("aarch64-linux-gnu-g++", ["-fopenmp"]),
        ("clang++", ["--target=aarch64-linux-gnu"]),
    ],
)
def test_arm(tmp_path: Path, compiler: str, flags: list[str]) -> None:
    emulator = shutil.which("qemu-aarch64")
    if emulator is None:
        pytest.skip("needs qemu-aarch64 (Debian: qemu-user)")
    if not ARM_HEADERS.exists():
        pytest.skip("needs libraries for aarch64 (Debian: g++-aarch64-linux-gnu)")
    program = tmp_path / "check_kernels"
    compile_checks(program, compiler, "-static", *flags)
    for processor, names in ARM.items():
        assert sets_checked(emulator, "-cpu", processor, str(program)) == names


@pytest.mark.skipif(
    not (ARM_HEADERS / "c++/12").exists(), reason="needs g++-12-aarch64-linux-gnu"
)
def test_macos_compiles(tmp_path: Path) -> None:
    """Apple's target, as Clang anywhere compiles it; nothing here can run it."""
    (tmp_path / "sys").mkdir()
    (tmp_path / "sys/sysctl.h").write_text(SYSCTL)
    flags = [*FOR_MACOS, "-isystem", str(tmp_path), "-c"]
    compile_checks(tmp_path / "check_kernels.o", "clang++", *flags)
