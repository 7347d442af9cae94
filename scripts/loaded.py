"""Run a command beside busy processes: ``python -m scripts.loaded 4 pytest tests``.

A test that passes on an idle machine only is a test of the machine.
"""

from __future__ import annotations

import os
import subprocess
import sys

_BUSY = "import os\nwhile os.getppid() == {parent}: sum(range(100_000))"
"""Code of a busy process, which ends when its parent ends for any reason."""


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    busy = [sys.executable, "-c", _BUSY.format(parent=os.getpid())]
    beside = [subprocess.Popen(busy) for _ in range(int(arguments[0]))]
    try:
        return subprocess.run(arguments[1:], check=False).returncode
    finally:
        for process in beside:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
