"""Writes docs/api.md, the reference of the public names, from signatures and docstrings.

usage: python -m scripts.make_api_docs [--check]

With ``--check`` it writes nothing, and its exit status is 1 if the page is out of date.

Methods and properties whose docstring starts with ``Internal:`` are left out: only other modules
of the package use them.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"
ROOT = "langchain_modelmgr"
PACKAGES = ("errors", "metrics", "ledger", "catalog", "checks", "dashboard", "report", "local")
WIDTH = 118
LONGEST_DEFAULT = 40
INTERNAL = "Internal: "
"""Start of the docstring of a method that is not for users."""

_PREFIXES: dict[Any, str] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}

HEAD = """\
# Public names

`make docs-api` generates this page from the code.

The names on this page are public: the `__all__` of `langchain_modelmgr`, and of each package below.
Everything else may change without notice.
"""


def page() -> str:
    """Return the text of the page."""
    root = import_module(ROOT)
    top = [name for name in root.__all__ if name != "__version__"]
    parts = [HEAD, f"## `{ROOT}`\n", "`__version__`: the version of the installed distribution.\n"]
    parts += [_entry(name, getattr(root, name)) for name in top]
    for package in PACKAGES:
        module = import_module(f"{ROOT}.{package}")
        parts += [f"## `{ROOT}.{package}`\n", _first_lines(module.__doc__)]
        if repeated := [name for name in module.__all__ if name in top]:
            names = ", ".join(f"`{name}`" for name in repeated)
            parts.append(_wrapped(f"Also exported here: {names}."))
        own = [name for name in module.__all__ if name not in top]
        parts += [_entry(name, getattr(module, name)) for name in own]
    return "\n".join(parts)


def _entry(name: str, thing: Any) -> str:
    if inspect.isclass(thing):
        return "\n".join(_class(name, thing))
    if callable(thing):
        return f"### `{name}`\n\n{_code(name, thing)}\n{_first_lines(thing.__doc__)}"
    return f"### `{name}`\n\nA constant of type `{type(thing).__name__}`.\n"


def _class(name: str, thing: type) -> Iterator[str]:
    yield f"### `{name}`\n"
    if "__init__" in vars(thing) and not getattr(thing, "_is_protocol", False):
        yield _code(name, vars(thing)["__init__"])
    yield _first_lines(thing.__doc__)
    lines = [*_fields(thing), *_methods(thing)]
    if lines:
        yield "\n".join(lines) + "\n"


def _fields(thing: type) -> Iterator[str]:
    """Yield a line for each field of a pydantic model that the package documents."""
    for name, field in getattr(thing, "model_fields", {}).items():
        if field.description and not any(name in _fields_of(base) for base in thing.__mro__[1:]):
            yield _item(name, field.description)


def _fields_of(base: type) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(base, "model_fields", {})
    return fields


def _methods(thing: type) -> Iterator[str]:
    for name, member in vars(thing).items():
        if name.startswith("_") or (member.__doc__ or "").startswith(INTERNAL):
            continue
        if isinstance(member, property):
            yield _item(name, member.__doc__)
        elif isinstance(member, classmethod | staticmethod):
            yield _item(f"{name}{_signature(member.__func__)}", member.__doc__)
        elif inspect.isfunction(member) and member.__doc__:
            yield _item(f"{name}{_signature(member)}", member.__doc__)


def _item(name: str, doc: str | None) -> str:
    text = _first_lines(doc).replace("\n", " ").strip()
    return textwrap.fill(
        f"- `{name}`: {text}",
        WIDTH,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _code(name: str, function: Callable[..., Any]) -> str:
    parameters = _parameters(function)
    line = f"{name}({', '.join(parameters)}){_returned(function)}"
    if len(line) > WIDTH:
        inner = "".join(f"    {parameter},\n" for parameter in parameters)
        line = f"{name}(\n{inner}){_returned(function)}"
    return f"```text\n{line}\n```\n"


def _signature(function: Callable[..., Any]) -> str:
    return f"({', '.join(_parameters(function))}){_returned(function)}"


def _returned(function: Callable[..., Any]) -> str:
    returned = inspect.signature(function).return_annotation
    return "" if returned in (inspect.Signature.empty, "None", None) else f" -> {_type(returned)}"


def _parameters(function: Callable[..., Any]) -> list[str]:
    shown: list[str] = []
    kinds = inspect.Parameter
    starred = False
    for p in inspect.signature(function).parameters.values():
        if p.name in {"self", "cls"}:
            continue
        if p.kind is kinds.KEYWORD_ONLY and not starred:
            shown.append("*")
            starred = True
        prefix = _PREFIXES.get(p.kind, "")
        starred = starred or prefix == "*"
        annotation = "" if p.annotation is kinds.empty else f": {_type(p.annotation)}"
        default = "" if p.default is kinds.empty else f" = {_default(p.default)}"
        shown.append(f"{prefix}{p.name}{annotation}{default}")
    return shown


def _type(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _default(value: Any) -> str:
    text = repr(value)
    return "..." if text.startswith("<") or len(text) > LONGEST_DEFAULT else text


def _first_lines(doc: str | None) -> str:
    """Return the first paragraph of a docstring as Markdown."""
    first = inspect.cleandoc(doc or "").partition("\n\n")[0]
    return _wrapped(re.sub(r"``(.+?)``", r"`\1`", " ".join(first.split())))


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"


def main() -> int:
    """Write the page, or check it; return the exit status."""
    parser = argparse.ArgumentParser(description="Writes docs/api.md from the docstrings.")
    parser.add_argument("--check", action="store_true", help="only compare")
    text = page()
    if parser.parse_args().check:
        return 0 if PAGE.is_file() and PAGE.read_text() == text else 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
