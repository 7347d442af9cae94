"""AwsSettings: the environment's AWS settings (endpoint, region, credentials)."""

from __future__ import annotations

import configparser
import hashlib
import json
import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BOTO3_VARIABLE = "MODELMGR_SEND_WITH_BOTO3"
"""If set, boto3 forms and sends all requests to Bedrock Runtime."""

_NAMES = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_ACCOUNT_ID",
        "AWS_BEARER_TOKEN_BEDROCK",
        "AWS_CONFIG_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_DEFAULT_PROFILE",
        "AWS_DEFAULT_REGION",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_ROLE_ARN",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_USE_DUALSTACK_ENDPOINT",
        "AWS_USE_FIPS_ENDPOINT",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        BOTO3_VARIABLE,
        # The folder of the ledger; each local AWS has one of its own.
        "MODELMGR_STATE_DIR",
    }
)
"""Variables from which boto3 takes endpoint, region and credentials (read in botocore 1.44.5)."""

_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

_SECRET_VARIABLES = frozenset(
    {"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CREDENTIAL_EXPIRATION"}
)
"""Variables that are kept but not hashed: the access key id identifies the credentials."""

ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL"
"""The endpoint of all services; ``AWS_ENDPOINT_URL_<SERVICE>`` is the one of a single service."""

_SECRET_KEYS = frozenset({"aws_secret_access_key", "aws_session_token", "aws_security_token"})
"""Keys of AWS's files that are not hashed: the access key id identifies the credentials."""


@dataclass(frozen=True)
class AwsSettings:
    """The AWS settings of the environment at one moment.

    Attributes:
        variables: The variables that are set, by name.
    """

    variables: Mapping[str, str] = field(repr=False)

    @classmethod
    def now(cls) -> Self:
        """Read the settings from the environment."""
        wanted = _NAMES | _SECRET_VARIABLES
        return cls(
            {
                name: value
                for name, value in os.environ.items()
                if value and (name in wanted or name.startswith(ENDPOINT_VARIABLE))
            }
        )

    @property
    def profile_variable(self) -> str | None:
        """The name of the variable that selects an AWS profile, if one is set."""
        # In botocore's order.
        names = ("AWS_DEFAULT_PROFILE", "AWS_PROFILE")
        return next((name for name in names if name in self.variables), None)

    @property
    def profile(self) -> str | None:
        """The AWS profile that the environment selects, if any."""
        name = self.profile_variable
        return None if name is None else self.variables[name]

    @property
    def region(self) -> str | None:
        """The AWS region that the environment sets, if any."""
        return self.variables.get("AWS_DEFAULT_REGION")

    def session(self, profile: str | None = None) -> dict[str, Any]:
        """Return the arguments of a ``boto3.Session`` with these settings.

        Args:
            profile: The configuration's AWS profile; it takes precedence over keys in variables.
        """
        given: dict[str, Any] = {"region_name": self.region}
        if profile or "AWS_ACCESS_KEY_ID" not in self.variables:
            return {**given, "profile_name": profile or self.profile}
        if "AWS_CREDENTIAL_EXPIRATION" in self.variables or not os.environ.get(_KEYS[0]):
            # botocore re-reads keys that expire; keys removed from the environment are not used.
            return given
        keys = {name.lower(): self.variables.get(name) for name in _KEYS}
        if account := self.variables.get("AWS_ACCOUNT_ID"):
            keys["aws_account_id"] = account
        return {**given, **keys}

    def endpoint_url(self, service: str) -> str | None:
        """Return the endpoint set for a service such as ``bedrock-runtime``, or None."""
        if self.variables.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
            return None
        own = f"{ENDPOINT_VARIABLE}_{service.replace('-', '_').upper()}"
        return self.variables.get(own) or self.variables.get(ENDPOINT_VARIABLE)

    def identity(self, profile: str | None = None) -> str:
        """Return a hash that differs between AWS environments: endpoint, region, credentials.

        Args:
            profile: The configuration's AWS profile.
        """
        named = profile or self.profile or "default"
        public = sorted(i for i in self.variables.items() if i[0] not in _SECRET_VARIABLES)
        hashed = json.dumps([profile, public, list(self._sections(named))])
        return hashlib.sha256(hashed.encode()).hexdigest()

    def _sections(self, profile: str) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
        """Yield the sections of AWS's files for a profile and for the profiles it refers to."""
        files = (
            self.variables.get("AWS_CONFIG_FILE", "~/.aws/config"),
            self.variables.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        )
        for text in files:
            sections = _read(text)
            waiting, seen = [profile, f"profile {profile}"], set[str]()
            while waiting:
                name = waiting.pop()
                if name in seen or name not in sections:
                    continue
                seen.add(name)
                values = sections[name]
                yield name, sorted(i for i in values.items() if i[0] not in _SECRET_KEYS)
                source = values.get("source_profile")
                waiting += [source, f"profile {source}"] if source else []
                waiting += [
                    f"{kind} {values[key]}"
                    for kind, key in (("sso-session", "sso_session"), ("services", "services"))
                    if values.get(key)
                ]


def endpoint_now() -> tuple[str | None, str | None]:
    """Return the two variables that distinguish AWS and each local AWS; cheap enough per call."""
    get = os.environ.get
    return get(ENDPOINT_VARIABLE), get("MODELMGR_STATE_DIR")


def _read(file: str) -> Mapping[str, Mapping[str, str | None]]:
    path = Path(os.path.expandvars(file)).expanduser()
    try:
        stat = path.stat()
    except OSError:
        return {}
    return _parsed(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=8)
def _parsed(path: Path, _modified: int, _size: int) -> Mapping[str, Mapping[str, str | None]]:
    parser = configparser.RawConfigParser(
        strict=False, allow_no_value=True, default_section="\0none"
    )
    try:
        parser.read_string(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error):
        return {}  # boto3 reports what is wrong with the file
    return {name: dict(parser[name]) for name in parser.sections()}
