"""Print the oldest versions that ``pyproject.toml`` allows, as requirements: ``make lowest``.

A bound that is not tested is a guess: an older botocore, for example, ignores read time-outs. The
tools of the tests are installed before, with newer versions: some of them want newer ones of these.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def main() -> None:
    """Print a pin for the lower bound of every dependency that users get."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    extras = project["optional-dependencies"]
    for line in [*project["dependencies"], *extras["cli"], *extras["local"], *extras["demo"]]:
        requirement = Requirement(line)
        for bound in requirement.specifier:
            if bound.operator == ">=":
                print(f"{requirement.name}=={bound.version}")


if __name__ == "__main__":
    main()
