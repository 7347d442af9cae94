"""Write docs/demo.svg: a picture of a terminal that runs the demo.

Run it with ``python -m scripts.make_demo_picture`` after a change of cli/demo_agent.py.
"""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from langchain_modelmgr.cli.demo_agent import WIDTH, main

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "demo.svg"


def make() -> str:
    """Run the demo and return its output as SVG."""
    console = Console(
        file=io.StringIO(),
        record=True,
        width=WIDTH,
        highlight=False,
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
    )
    main(console)
    return console.export_svg(title="make demo", unique_id="demo")


if __name__ == "__main__":
    PICTURE.write_text(make(), "utf-8")
    print(f"wrote {PICTURE.name}")
