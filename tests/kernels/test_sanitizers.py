"""The kernels' own C++ tests, under the sanitizers for addresses, undefined behaviour and threads."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CPU = Path(__file__).parents[2] / "src" / "gossamer" / "kernels" / "cpu"
TESTS = Path(__file__).parent / "cpp"
SOURCES = {
    "kernels_test": ("products", "spspmm", "layout", "pattern", "srelu"),
    "associative_test": ("associative",),
    "lq_noise_test": ("lq_noise",),
    "divisive_test": ("divisive", "winners"),
    "recurrent_test": ("recurrent",),
    "training_step_test": ("products", "layout", "pattern", "hoyer", "srelu", "top_k", "training_step"),
}


def _can_link(compiler: str, flags: list[str], folder: Path) -> bool:
    """Whether the sanitizer's library is there: it comes with the compiler, but not everywhere."""
    program = folder / "empty.cpp"
    program.write_text("int main() { return 0; }\n")
    command = [compiler, *flags, str(program), "-o", str(folder / "empty")]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return False
    return subprocess.run([str(folder / "empty")], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
@pytest.mark.parametrize(
    "test",
    [
        "kernels_test",
        "associative_test",
        "lq_noise_test",
        "divisive_test",
        "recurrent_test",
        pytest.param("training_step_test", marks=pytest.mark.slow),
    ],
)
def test_kernels_are_clean(test: str, sanitizer: str, tmp_path: Path) -> None:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    sources = [TESTS / f"{test}.cpp", *(CPU / f"{name}.cpp" for name in SOURCES[test])]
    if not all(source.exists() for source in sources):
        pytest.skip("the sources are not beside the tests")
    flags = [f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", "-std=gnu++17", "-g", "-O0", "-pthread"]
    if not _can_link(compiler, flags, tmp_path):
        pytest.skip(f"the compiler can't build or run programs with -fsanitize={sanitizer}")
    program = tmp_path / test
    command = [compiler, *flags, "-Wno-psabi", f"-I{CPU}", "-DGOSSAMER_ISA=baseline", *map(str, sources)]
    subprocess.run([*command, "-o", str(program)], check=True, capture_output=True)
    result = subprocess.run([str(program), "40"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 failures" in result.stdout
