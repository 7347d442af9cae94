"""Finding: the result of one check, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from langchain_modelmgr.runtime.guard import Guard
from langchain_modelmgr.runtime.masking import mask_account_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Status: TypeAlias = Literal["ok", "unchecked", "warning", "problem"]

_ORDER: tuple[Status, ...] = ("ok", "unchecked", "warning", "problem")


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        check: What was checked: ``files``, ``model access``, ``clock``, ...
        subject: What it is about: a file, a model, a region. May be empty.
        status: ``problem``: an agent can't use its model; ``warning``: it works, and something
            should be done; ``unchecked``: unknown, and why.
        text: What was found.
        cure: What to do, with the command; empty if there is nothing to do.
    """

    check: str
    subject: str
    status: Status
    text: str
    cure: str = ""


def worst(findings: Iterable[Finding]) -> Status:
    """Return the most serious status; ``ok`` for no findings."""
    return max((finding.status for finding in findings), key=_ORDER.index, default="ok")


def attempted(
    check: str, subject: str, find: Callable[[], Iterable[Finding]], *, cure: str = ""
) -> list[Finding]:
    """Return the findings of a check; one that it could not be made, if it raises.

    A check that fails must not keep the others from being made.

    Args:
        check: What is checked.
        subject: What it is about.
        find: The check.
        cure: What to do if it raises.
    """
    errors: list[Exception] = []
    found: list[Finding] = []
    with Guard(errors.append):
        found.extend(find())
    for error in errors:
        text = f"could not be checked: {type(error).__name__}: {mask_account_ids(str(error))}"
        found.append(Finding(check, subject, "unchecked", text, cure))
    return found
