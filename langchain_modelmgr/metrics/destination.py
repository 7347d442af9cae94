"""Where metrics go, and where a process keeps those that have not gone yet."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

FOLDER_VARIABLE = "MODELMGR_STATE_DIR"

_LAMBDA = "AWS_LAMBDA_FUNCTION_NAME"


@dataclass(frozen=True, slots=True)
class Destination:
    """A namespace in one account and region, as far as a process knows it without asking AWS.

    Attributes:
        namespace: CloudWatch's namespace.
        region: AWS region; empty: unknown.
        endpoint: An endpoint of its own; empty: AWS's.
        scope: Stands for the credentials, which it does not tell: a hash.
    """

    namespace: str
    region: str
    endpoint: str
    scope: str

    @classmethod
    def of(cls, namespace: str, region: str | None, profile: str | None) -> Destination:
        """Return the destination of a process with these settings and its environment."""
        env = os.environ.get
        session = env("AWS_SESSION_TOKEN", "")
        identity = (
            profile or env("AWS_PROFILE", ""),
            # A session's key is another one each hour; a user's own stands for the user.
            "" if session else env("AWS_ACCESS_KEY_ID", ""),
            env("AWS_ROLE_ARN", ""),
        )
        return cls(
            namespace=namespace,
            region=region or env("AWS_DEFAULT_REGION", "") or env("AWS_REGION", ""),
            endpoint=env("AWS_ENDPOINT_URL_CLOUDWATCH", "") or env("AWS_ENDPOINT_URL", ""),
            scope=_hash("\0".join(identity)),
        )

    @property
    def folder_name(self) -> str:
        """A folder name of its own for each destination."""
        return _hash(json.dumps(asdict(self), sort_keys=True))


def state_folder(setting: str) -> Path | None:
    """Return the folder where journals lie, or None: there are none.

    Args:
        setting: ``metrics.journal``: ``auto``, ``off``, or a folder. ``auto`` is the variable
            MODELMGR_STATE_DIR, else the user's own state folder by the rules of the system, and
            none in AWS Lambda, whose disk outlives no process.
    """
    if setting == "off" or (setting == "auto" and _LAMBDA in os.environ):
        return None
    try:
        folder = _users_own() if setting == "auto" else Path(setting).expanduser()
    except RuntimeError:  # neither HOME nor an entry for the user, as some containers have it
        logger.warning(
            "no home folder is known, so there is no metrics journal: what is recorded does not "
            "survive the death of this process; %s or metrics.journal names a folder",
            FOLDER_VARIABLE,
        )
        return None
    return folder.absolute()  # the program may go elsewhere


def _users_own() -> Path:
    if folder := os.environ.get(FOLDER_VARIABLE):
        return Path(folder)
    from platformdirs import user_state_path

    # Older versions give "~/..." as it is where they know no home.
    return user_state_path("langchain-modelmgr", appauthor=False).expanduser()


def in_lambda() -> bool:
    """Tell whether this process runs in AWS Lambda."""
    return _LAMBDA in os.environ


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
