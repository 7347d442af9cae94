"""Finds the folder of a ledger."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

logger = logging.getLogger(__name__)

FOLDER_VARIABLE = "MODELMGR_STATE_DIR"

_LAMBDA = "AWS_LAMBDA_FUNCTION_NAME"
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


def ledger_folder(setting: str, project_prefix: str) -> Path | None:
    """Return the folder of a ledger; None: the ledger is kept in memory.

    Args:
        setting: ``ledger`` of the YAML: ``auto``, ``off``, or a folder. ``auto`` is the folder that
            the variable MODELMGR_STATE_DIR names, else the user's own state folder by the rules of
            the system, and none in AWS Lambda, where the disk ends with the process.
        project_prefix: The project, which has a folder of this name there.
    """
    if setting == "off" or (setting == "auto" and in_lambda()):
        return None
    try:
        above = state_folder() if setting == "auto" else Path(setting).expanduser()
        # Projects that name one folder have tables of their own. The program may go elsewhere.
        return (above / (_UNFIT.sub("-", project_prefix) or "-")).absolute()
    except RuntimeError:  # neither HOME nor an entry for the user, as some containers have it
        logger.warning(
            "no home folder is known, so the ledger lives in memory: what is recorded does not "
            "survive the death of this process; %s or ledger names a folder",
            FOLDER_VARIABLE,
        )
        return None


def state_folder() -> Path:
    """Return the folder of this user's state.

    Raises:
        RuntimeError: No home folder is known.
    """
    if folder := os.environ.get(FOLDER_VARIABLE):
        return Path(folder)
    from platformdirs import user_state_path

    # Older versions give "~/..." as it is where they know no home.
    return user_state_path("langchain-modelmgr", appauthor=False).expanduser()


def in_lambda() -> bool:
    """Return whether this process runs in AWS Lambda."""
    return _LAMBDA in os.environ
