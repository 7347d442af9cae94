"""Builds boto3 clients; managers with equal AWS settings share one set."""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from langchain_modelmgr.bedrock.transport import instrument, watched
from langchain_modelmgr.errors import ConfigurationError
from langchain_modelmgr.runtime.aws_regions import nearest_region, typo_in_region
from langchain_modelmgr.runtime.aws_settings import BOTO3_VARIABLE, ENDPOINT_VARIABLE, AwsSettings
from langchain_modelmgr.runtime.cloudwatch_client import FixedClient
from langchain_modelmgr.runtime.forks import AFTER_FORK
from langchain_modelmgr.runtime.local_servers import LOCAL_SERVERS
from langchain_modelmgr.runtime.session_locks import SESSION_LOCKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import boto3

CONNECT_TIMEOUT_SECONDS = 10
"""Seconds to reach an endpoint, TLS included. Bedrock answers a connect in milliseconds."""

READ_TIMEOUT_SECONDS = 900
"""Upper limit; each attempt sets its own, shorter timeout (``timeout_seconds``)."""

S3_ATTEMPTS = 8
"""Attempts of a request to S3: an answer that was paid must be kept."""

_JOBS = "bedrock jobs"

CONTROL_TIMEOUT_SECONDS = 1
"""Connect and read timeout of control plane requests, which normally take milliseconds. Short,
because a call may have to wait for one."""


class _Built:
    """A boto3 session and its clients, shared by the managers whose AWS settings are equal."""

    def __init__(self, session: boto3.Session | None = None) -> None:
        self.given_session = session
        self.users: weakref.WeakSet[Clients] = weakref.WeakSet()
        self.lock = threading.Lock()
        self.clients: dict[tuple[str, str | None], Any] = {}
        self.session = session
        AFTER_FORK.watch(self)

    def reset_after_fork(self) -> None:
        """Discard all clients: in a forked child their sockets are the parent's."""
        self.lock = threading.Lock()
        self.clients = {}
        self.session = self.given_session


_BUILT: weakref.WeakValueDictionary[tuple[Any, ...], _Built] = weakref.WeakValueDictionary()
"""Shared sessions and clients by AWS settings. Building a set takes 0.2 s and 18 MB, so a process
with one configuration per tenant must not build one for each."""

_ORIGIN = "The region comes from ModelManager's region, AWS_DEFAULT_REGION, or the AWS profile"

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Clients:
    """The boto3 clients of a manager, built on first use and shared by all its threads.

    Endpoint, region and credentials come from the environment at the time the manager was
    created; later changes have no effect. Settings that the environment lacked are left to boto3.

    Args:
        session: The user's boto3 session; None means one from the profile and the environment.
        profile: ``aws.profile`` of the YAML, used only without ``session``.
        region: The region for models that name none; None leaves it to boto3.
        endpoint_url: Bedrock Runtime's endpoint; None leaves it to boto3.
        headers: HTTP headers added, unsigned, to every request to Bedrock Runtime.
        connections: Size of each client's connection pool: the number of concurrent calls.
        source: The configuration's name in errors.
    """

    def __init__(  # noqa: PLR0913 - the settings of one boto3 session, keyword-only
        self,
        *,
        session: boto3.Session | None,
        profile: str | None,
        region: str | None,
        endpoint_url: str | None,
        headers: Mapping[str, str],
        connections: int,
        source: str,
    ) -> None:
        self._profile = profile
        self._region = region
        self._endpoint_url = endpoint_url
        self._headers = dict(headers)
        self._connections = connections
        self._source = source
        self._settings = AwsSettings.now()
        self._built = _Built(session)
        if session is None:
            aws = self._settings.identity(profile)
            own = tuple(sorted(self._headers.items()))
            key = (profile, region, endpoint_url, own, connections, aws)
            self._built = _BUILT.setdefault(key, self._built)
        self._is_open = False

    def close(self) -> None:
        """Close idle connections, unless another manager uses them; later calls open new ones."""
        self._is_open = False
        self._built.users.discard(self)
        if not self._built.users:
            for client in tuple(self._built.clients.values()):
                client.close()

    def runtime(self, region: str | None = None) -> Any:
        """Return the Bedrock Runtime client for a region."""
        return self._client("bedrock-runtime", region)

    def built_runtime(self, region: str | None = None) -> Any:
        """Return the Bedrock Runtime client for a region if it was built before, else None."""
        return self._built.clients.get(("bedrock-runtime", region or self._region))

    def control(self, region: str | None = None) -> Any:
        """Return the Bedrock client (inference profiles, model lists) for a region."""
        return self._client("bedrock", region)

    def jobs(self, region: str | None = None) -> Any:
        """Return the Bedrock client for batch inference jobs, which nothing waits for."""
        return self._client(_JOBS, region)

    def s3(self) -> Any:
        """Return the S3 client, for the rows and results of batch jobs."""
        return self._client("s3", None)

    def cloudwatch(self) -> FixedClient:
        """Return a factory of CloudWatch clients, fixed to the current account and endpoint."""
        endpoint = self._settings.endpoint_url("cloudwatch")
        return FixedClient(lambda: self.session, self._region, endpoint)

    @property
    def session(self) -> boto3.Session:
        """The boto3 session that all clients come from."""
        with self._built.lock:
            return self._open_session()

    @property
    def region(self) -> str | None:
        """The region for models that name none, as boto3 resolves it."""
        return self._region or self.session.region_name

    @property
    def known_region(self) -> str | None:
        """The region as far as it is known without making a boto3 session."""
        session = self._built.given_session
        return self._region or (session.region_name if session else self._settings.region)

    @property
    def are_local(self) -> bool:
        """Whether the endpoint of Bedrock Runtime is on this machine, as with the local AWS."""
        try:
            host = urlsplit(self.runtime().meta.endpoint_url).hostname
        except ConfigurationError:
            return False
        return host in _LOOPBACK

    def _client(self, service: str, region: str | None) -> Any:
        if not self._is_open:
            self._is_open = True
            self._built.users.add(self)
        key = (service, region or self._region)
        built = self._built
        if (client := built.clients.get(key)) is None:
            with built.lock:
                if (client := built.clients.get(key)) is None:
                    client = built.clients[key] = self._build(*key)
        return client

    def _build(self, service: str, region: str | None) -> Any:
        from botocore.config import Config
        from botocore.exceptions import InvalidRegionError, NoRegionError

        runtime = service == "bedrock-runtime"
        config = Config(
            connect_timeout=CONNECT_TIMEOUT_SECONDS if runtime else CONTROL_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS if runtime else CONTROL_TIMEOUT_SECONDS,
            max_pool_connections=self._connections,
            # One attempt: retries under a fallback multiply its time; the policy owns them all.
            retries={"total_max_attempts": 1},
        )
        if service in ("s3", _JOBS):
            attempts = S3_ATTEMPTS if service == "s3" else 1
            config = Config(
                max_pool_connections=self._connections,
                retries={"mode": "standard", "total_max_attempts": attempts},
            )
        service = "bedrock" if service == _JOBS else service
        self._refuse_another_local_aws()
        session = self._open_session()
        self._check_region(region or session.region_name)
        endpoint = self._endpoint_url if runtime else None
        try:
            with SESSION_LOCKS.of(session), watched(session) if runtime else nullcontext():
                client: Any = session.client(
                    service,  # type: ignore[call-overload]
                    region_name=region,
                    endpoint_url=endpoint or self._settings.endpoint_url(service),
                    config=config,
                )
        except NoRegionError as error:
            raise ConfigurationError(
                f"{self._source}: no AWS region is configured: set aws.region there, "
                "AWS_DEFAULT_REGION in the environment, or region in an AWS profile"
            ) from error
        except InvalidRegionError as error:
            near = nearest_region(region or session.region_name or "")
            meant = f" Did you mean {near!r}?" if near else ""
            raise ConfigurationError(f"{self._source}: {error}{meant} {_ORIGIN}") from error
        if runtime:
            off = self._settings.variables.get(BOTO3_VARIABLE)
            instrument(client, _add_headers, only_boto3=f"{BOTO3_VARIABLE} is set" if off else "")
            if self._headers:  # after signing, as ChatBedrockConverse does it
                add = partial(_add_headers, self._headers)
                client.meta.events.register("before-send.bedrock-runtime", add)
        return client

    def _refuse_another_local_aws(self) -> None:
        """Refuse to reach a local AWS with a manager that keeps its records for another AWS."""
        there = os.environ.get(ENDPOINT_VARIABLE, "")
        made_with = self._settings.variables.get(ENDPOINT_VARIABLE, "")
        if self._endpoint_url or there == made_with or LOCAL_SERVERS.token(there) is None:
            return
        raise ConfigurationError(
            f"{self._source}: this ModelManager was created outside the local AWS and would "
            "record its usage for another account: create it inside LocalAWS.running(), or omit "
            "manager= so that chat models use the one of their environment"
        )

    def _check_region(self, region: str | None) -> None:
        if region is not None and (meant := typo_in_region(region)) is not None:
            text = f"unknown AWS region {region!r}; did you mean {meant!r}? {_ORIGIN}"
            raise ConfigurationError(f"{self._source}: {text}")

    def _open_session(self) -> boto3.Session:
        """Return the session; the caller must hold the lock."""
        built = self._built
        if built.session is None:
            import boto3
            from botocore.exceptions import ProfileNotFound

            try:
                built.session = boto3.Session(**self._settings.session(self._profile))
            except ProfileNotFound as error:
                file = f"{self._source}: aws.profile"
                where = file if self._profile else f"{self._settings.profile_variable}"
                raise ConfigurationError(f"{where}: {error}") from error
        return built.session


def _add_headers(headers: Mapping[str, str], request: Any, **_: Any) -> None:
    for name, value in headers.items():
        request.headers[name] = value
