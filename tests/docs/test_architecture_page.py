"""The architecture page names the modules and the layers that there are."""

from __future__ import annotations

import re
import tomllib

from tests.support import BLOCK, ROOT

PACKAGE = ROOT / "langchain_modelmgr"
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
SECTION = re.compile(r"^### (?:`([\w/]+)/`)?.*\n\n((?:- .*\n(?:  .*\n)*)+)", re.MULTILINE)


def listed() -> list[str]:
    """Return the paths of the modules that the page lists, in its order."""
    return [
        f"{folder}/{name}" if folder else name
        for folder, modules in SECTION.findall(PAGE.split("## Modules\n", 1)[1])
        for name in re.findall(r"^- `([\w/]+\.py)`", modules, re.MULTILINE)
    ]


def modules() -> set[str]:
    return {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}


def test_every_module_is_listed_once() -> None:
    packages = {name for name in modules() if name.endswith("/__init__.py")}

    assert sorted(listed()) == sorted(modules() - packages)


def test_every_path_in_the_text_exists() -> None:
    text = PAGE.split("## Modules\n", 1)[0]
    named = re.findall(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|yaml|toml)|(?:\w+/)+)`", text)

    missing = [p for p in named if not (PACKAGE / p).exists() and not (ROOT / p).exists()]

    assert len(named) > 30
    assert missing == []


def test_the_layers_are_those_of_the_import_contract() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (layers,) = [c["layers"] for c in contracts if c["name"] == "imports point down only"]
    drawn = next(text for kind, text in BLOCK.findall(PAGE) if kind == "text")

    assert drawn.split("\n")[:-1] == [
        layer.replace("langchain_modelmgr.", "").strip() for layer in layers
    ]
