"""The public names of the package: each can be imported, and importing the package is cheap."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tomllib
from importlib import import_module

import pytest

import langchain_modelmgr
from langchain_modelmgr import errors
from tests.support import ROOT

PACKAGES = ("budgets", "catalog", "dashboard", "errors", "ledger", "local", "metrics")


def test_every_public_name_can_be_imported() -> None:
    for name in langchain_modelmgr.__all__:
        if name != "__version__":
            assert getattr(langchain_modelmgr, name).__name__ == name
    assert dir(langchain_modelmgr) == sorted(langchain_modelmgr.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        langchain_modelmgr.Nothing  # noqa: B018


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_of_a_package_can_be_imported(package: str) -> None:
    module = import_module(f"langchain_modelmgr.{package}")

    assert all(hasattr(module, name) for name in module.__all__)


def test_every_error_can_be_imported_from_the_package() -> None:
    defined = {name for name, kind in vars(errors).items() if _is_ours(kind)}

    assert defined == {*errors.__all__} - {"Attempt"}
    assert {*errors.__all__} <= {*langchain_modelmgr.__all__}


def _is_ours(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, errors.ModelManagerError)


@pytest.mark.parametrize("name", [n for n in errors.__all__ if n != "Attempt"])
def test_every_error_survives_pickling(name: str) -> None:
    attempts = (langchain_modelmgr.Attempt("x.y", "BedrockAPIError", 5.0, "r-1"),)
    error = getattr(langchain_modelmgr, name)("what is wrong", attempts)
    if isinstance(error, errors.BedrockError):
        error.code, error.status, error.partial_text = "ThrottlingException", 429, "one two"

    copied = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes

    assert type(copied) is type(error)
    assert (str(copied), copied.attempts) == ("what is wrong", attempts)
    assert vars(copied) == vars(error)


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert langchain_modelmgr.__version__ == project["version"]


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, langchain_modelmgr, langchain_modelmgr.metrics, langchain_modelmgr.config;"
        "print({'boto3', 'langchain_aws', 'langchain_core', 'aiohttp'} & set(sys.modules))"
    )

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() in ("set()", "{'langchain_core'}")
