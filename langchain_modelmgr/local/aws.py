"""LocalAWS: a local server for Bedrock, CloudWatch, STS and the price list, on loopback only."""

from __future__ import annotations

import os
import random
import shutil
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, Self

from langchain_modelmgr.local.batch import BatchJobs
from langchain_modelmgr.local.cloudwatch import CloudWatchStore
from langchain_modelmgr.local.faults import Fault
from langchain_modelmgr.local.objects import Objects
from langchain_modelmgr.local.price_list import PriceList
from langchain_modelmgr.local.server import HOST, Server
from langchain_modelmgr.local.state import State, availability
from langchain_modelmgr.runtime.local_servers import LOCAL_SERVERS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import boto3

    from langchain_modelmgr.local.faults import Place
    from langchain_modelmgr.local.scripted import Script, ScriptedReply
    from langchain_modelmgr.local.state import Lifecycle, RecordedCall

REGION = "us-east-1"

_SETTINGS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    # A configured proxy must not receive requests to loopback.
    "NO_PROXY": HOST,
    "no_proxy": HOST,
}


_NAMES = frozenset({*_SETTINGS, "MODELMGR_STATE_DIR"})


class LocalAWS:
    """Bedrock Runtime, Bedrock and CloudWatch over real HTTP, with a scripted model and faults.

    Args:
        port: The port on 127.0.0.1; 0 takes a free one.
        s3_url: The endpoint URL of an S3 service, such as moto's server, for batch inference.

    Example:
        ``with LocalAWS.running() as aws: ...``: everything inside reaches the local AWS.
    """

    def __init__(self, port: int = 0, *, s3_url: str | None = None) -> None:
        self._wanted_port = port
        self._s3_url = s3_url
        self._server: Server | None = None
        self._state = State()
        self._state_folder = ""
        self._environment = ExitStack()
        self.batch = BatchJobs(self._state)
        self.metrics = CloudWatchStore()
        self.prices = PriceList()

    # -- life

    @classmethod
    def running(cls, port: int = 0, *, s3_url: str | None = None) -> Self:
        """Return a started server that boto3 uses, as in ``environment()``, until it stops.

        Use it in a ``with`` statement, or call ``stop()`` at the end of a notebook.

        Args:
            port: The port on 127.0.0.1; 0 takes a free one.
            s3_url: The endpoint URL of an S3 service, for batch inference.

        Raises:
            OSError: The port is taken.
        """
        aws = cls(port, s3_url=s3_url).start()
        aws._environment.enter_context(aws.environment())  # noqa: SLF001 - of this class
        return aws

    def start(self) -> Self:
        """Start the server."""
        if self._server is None:
            self.metrics.begin()
            self._server = Server(
                self._state, self.batch, self.metrics, self.prices, self._wanted_port
            )
            if self._s3_url is not None:
                self.batch.use(Objects(self.session(), self._s3_url))
            self._state_folder = mkdtemp(prefix="local-aws-")
            LOCAL_SERVERS.begin(self.url)
        return self

    def stop(self) -> None:
        """Restore the environment, stop the server and drop open connections."""
        self._environment.close()
        if self._server is not None:
            LOCAL_SERVERS.end(self.url)
            self.metrics.end()
            server, self._server = self._server, None
            server.stop()
            self.batch.use(None)
            if server.is_own:
                shutil.rmtree(self._state_folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- how to reach it

    @property
    def url(self) -> str:
        """The endpoint URL of all services."""
        if self._server is None:
            raise RuntimeError("the local AWS is not started: use it in a with statement")
        return f"http://{HOST}:{self._server.port}"

    def env(self) -> dict[str, str]:
        """Return the environment variables for boto3. Other AWS variables must be unset."""
        return {
            **_SETTINGS,
            **({"AWS_ENDPOINT_URL_S3": self._s3_url} if self._s3_url else {}),
            "AWS_ENDPOINT_URL": self.url,
            # Data points for this server must not be kept among those for AWS.
            "MODELMGR_STATE_DIR": self._state_folder,
        }

    @contextmanager
    def environment(self) -> Iterator[None]:
        """Point boto3 to this server during the block, whatever other AWS settings exist."""
        before = _drop_settings()
        os.environ.update(self.env())
        try:
            yield
        finally:
            _drop_settings()
            os.environ.update(before)

    def session(self) -> boto3.Session:
        """Return a boto3 session with dummy keys."""
        import boto3

        return boto3.Session(
            aws_access_key_id=_SETTINGS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=_SETTINGS["AWS_SECRET_ACCESS_KEY"],
            region_name=REGION,
        )

    def client(self, service: str) -> Any:
        """Return a boto3 client of this server that makes one attempt per request."""
        from botocore.config import Config

        return self.session().client(
            service,  # type: ignore[call-overload]
            endpoint_url=self._s3_url if service == "s3" and self._s3_url else self.url,
            config=Config(retries={"total_max_attempts": 1}),
        )

    # -- the model's answers

    def script(self, script: Script, model_id: str | None = None) -> None:
        """Set a function that answers for a model, or for all; None means the default answer."""
        self._state.set_script(model_id, script)

    def reply(self, model_id: str | None, reply: ScriptedReply, times: int = 1) -> None:
        """Set the next replies of a model, or of all models."""
        self._state.add_reply(model_id, reply, times)

    def replay(self, path: str | os.PathLike[str]) -> int:
        """Queue recorded replies (JSON lines) by model and operation; return how many."""
        return self._state.load_replays(Path(path))

    def unknown(self, model_id: str) -> None:
        """Make a model unknown: requests to it fail."""
        self._state.make_unknown(model_id)

    def facts(self, model_id: str, **facts: Any) -> None:
        """Override the catalog's facts of a model, for example ``supports_images=True``.

        Args:
            model_id: The model.
            **facts: Fields of ``ModelConfig``.
        """
        self._state.set_facts(model_id, facts)

    def inference_profile(
        self, name: str, model_id: str, regions: Sequence[str] = (REGION,)
    ) -> None:
        """Create an inference profile (id or ARN) for a model in some regions."""
        profile = {
            "inferenceProfileName": name.rpartition("/")[2],
            "inferenceProfileArn": name,
            "inferenceProfileId": name.rpartition("/")[2],
            "models": [
                {"modelArn": f"arn:aws:bedrock:{region}::foundation-model/{model_id}"}
                for region in regions
            ],
            "status": "ACTIVE",
            "type": "APPLICATION",
        }
        self._state.add_profile(name, profile)

    def access(
        self,
        model_id: str,
        *,
        agreed: bool = True,
        authorized: bool = True,
        entitled: bool = True,
        in_region: bool = True,
    ) -> None:
        """Set what GetFoundationModelAvailability says of a foundation model.

        Args:
            model_id: The foundation model.
            agreed: Whether the model's agreement is available.
            authorized: Whether the account is authorized.
            entitled: Whether the account is entitled.
            in_region: Whether the region has the model.
        """
        self._state.set_availability(
            model_id,
            availability(
                agreed=agreed, authorized=authorized, entitled=entitled, in_region=in_region
            ),
        )

    def lifecycle(self, model_id: str, status: Lifecycle) -> None:
        """Set the lifecycle that ListFoundationModels returns for a foundation model."""
        self._state.set_lifecycle(model_id, status)

    def clock_skew(self, seconds: float) -> None:
        """Set how far the server's clock is ahead of this machine's; negative: behind.

        As at AWS, requests signed more than five minutes from the server's time are refused.
        """
        self._state.clock_skew = seconds

    def account(self, access_key_id: str, account_id: str) -> None:
        """Set the account that GetCallerIdentity returns for an access key."""
        self._state.set_account(access_key_id, account_id)

    # -- faults, of one model or (None) of all

    def fail(  # noqa: PLR0913 - one fault's facts, keyword-only
        self,
        model_id: str | None,
        code: str,
        *,
        times: int | None = 1,
        rate: float | None = None,
        seed: int = 0,
        at: Place = "request",
        after: int = 0,
        message: str = "",
        retry_after: float | None = None,
    ) -> None:
        """Make requests fail with an AWS error code and its real HTTP status.

        Args:
            model_id: The model; None: any.
            code: AWS's error code, such as ``ThrottlingException``.
            times: How many requests; not limited if ``rate`` is given.
            rate: Share of requests, 0 to 1.
            seed: Seed of the random choice of requests.
            at: ``request``; ``stream``: an error event among the others; ``end``: an error event
                after messageStop, in place of the token counts; ``profile``: the
                request is GetInferenceProfile, ``model_id`` the profile; ``identity``: the
                request is GetCallerIdentity, ``model_id`` the access key id; ``availability``: the
                request is GetFoundationModelAvailability; ``guardrail``: the request is
                GetGuardrail, ``model_id`` the guardrail; ``models``: the request is
                ListFoundationModels or GetFoundationModel; ``create_job``, ``get_job``,
                ``list_jobs``, ``stop_job``: the request is one of batch inference;
                ``job_created``: the same as ``create_job``, but the job was created.
            after: Number of content events before the fault.
            message: The error message; by default AWS's usual text.
            retry_after: Seconds in a ``Retry-After`` header.

        Raises:
            ValueError: The code is unknown.
        """
        bound = None if rate is not None else times
        self._state.faults.order(
            Fault("error", model_id, at, after, bound, rate, code, message,
                  retry_after=retry_after, dice=random.Random(seed))
        )  # fmt: skip

    def reset(
        self, model_id: str | None, *, times: int = 1, at: Place = "request", after: int = 0
    ) -> None:
        """Reset connections: before any byte, after the headers, in mid-stream, or at its end."""
        self._state.faults.order(Fault("reset", model_id, at, after, times))

    def cut(
        self, model_id: str | None, *, times: int = 1, at: Place = "stream", after: int = 0
    ) -> None:
        """End streams early but cleanly: without messageStop, or with it and no token counts."""
        self._state.faults.order(Fault("cut", model_id, at, after, times))

    def stall(
        self,
        model_id: str | None,
        seconds: float,
        *,
        times: int = 1,
        at: Place = "request",
        after: int = 0,
    ) -> None:
        """Stop sending before the reply, in mid-stream, at its end, or for an inference profile."""
        self._state.faults.order(Fault("stall", model_id, at, after, times, seconds=seconds))

    def trickle(
        self,
        model_id: str | None,
        seconds: float,
        *,
        every: float = 0.1,
        times: int = 1,
        at: Place = "stream",
    ) -> None:
        """Keep sending data without content: events without content, or single bytes.

        Args:
            model_id: The model; None: any.
            seconds: How long it lasts.
            every: Seconds between two events, or bytes.
            times: How many requests.
            at: ``stream``: a stream's events; ``body``: the bytes of a unary reply.
        """
        self._state.faults.order(
            Fault("trickle", model_id, at, 0, times, seconds=seconds, every=every)
        )

    def latency(self, model_id: str | None, seconds: float, *, chunk_delay: float = 0.0) -> None:
        """Set how long every reply takes, and every event of a stream."""
        self._state.set_latency(model_id, seconds, chunk_delay)

    def clear_faults(self) -> None:
        """Remove all faults that have not happened yet."""
        self._state.faults.clear()

    # -- what was received

    def calls(self, model_id: str | None = None) -> list[RecordedCall]:
        """Return the last 1,000 requests received, in order; ``requests()`` counts all."""
        return self._state.calls(model_id)

    def requests(
        self,
        model_id: str | None = None,
        operations: Collection[str] = ("Converse", "ConverseStream"),
    ) -> int:
        """Return how many requests were received.

        Args:
            model_id: Only those to this model; None: to any.
            operations: Only those of these operations.
        """
        return self._state.count(operations, model_id)

    def open_streams(self) -> int:
        """Return how many streams are open."""
        return self._state.open_streams()

    def wait_closed(self, timeout: float) -> bool:
        """Wait until no stream is open; return False if ``timeout`` seconds pass first."""
        return self._state.wait_closed(timeout)


def _drop_settings() -> dict[str, str]:
    """Unset every variable that could redirect boto3, and return the previous values."""
    names = [name for name in os.environ if name.startswith("AWS_") or name in _NAMES]
    return {name: os.environ.pop(name) for name in names}
