"""The import contracts in pyproject.toml cover every package and module of the product."""

from __future__ import annotations

import tomllib
from typing import Any

from tests.support import ROOT

PRODUCT = ROOT / "langchain_modelmgr"
MODULES = {
    f"langchain_modelmgr.{path.stem}"
    for path in PRODUCT.iterdir()
    if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").is_file()
}
LOCAL = "langchain_modelmgr.local"
COMMAND = {"langchain_modelmgr.cli", "langchain_modelmgr.__main__"}
"""``modelmgr local`` and ``modelmgr demo`` start the local AWS."""


def contract(name: str) -> dict[str, Any]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    return next(c for c in settings["contracts"] if c["name"] == name)


def test_the_layers_name_every_package_but_the_local_aws() -> None:
    lines = contract("imports point down only")["layers"]

    assert {name.strip() for line in lines for name in line.split("|")} == MODULES - {LOCAL}


def test_no_package_but_the_command_line_may_import_the_local_aws() -> None:
    found = contract("the product never imports the local AWS")

    assert {*found["source_modules"]} == MODULES - {LOCAL} - COMMAND
    assert found["forbidden_modules"] == [LOCAL]


def test_the_local_aws_may_import_no_package() -> None:
    found = contract("the local AWS knows nothing of the product")

    assert found["source_modules"] == [LOCAL]
    assert {*found["forbidden_modules"]} == MODULES - {LOCAL}
