"""Async calls verify TLS as botocore does: its CA file, and the host's name."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import ssl
import threading
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from langchain_modelmgr import ConfigurationManager, ModelManager
from langchain_modelmgr.bedrock.transport import is_ready_for_asyncio
from langchain_modelmgr.errors import BedrockConnectionError
from langchain_modelmgr.runtime.aws_settings import BOTO3_VARIABLE
from tests.bedrock.two_ways import json_reply
from tests.chain.awaited import Threads, wait
from tests.models import SONNET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    bool(os.environ.get(BOTO3_VARIABLE)), reason="boto3 sends all requests"
)

_REPLY = json_reply(
    json.dumps(
        {
            "output": {"message": {"role": "assistant", "content": [{"text": "seven"}]}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
            "metrics": {"latencyMs": 1},
        }
    ).encode()
)


def _certificate(folder: Path, *names: x509.GeneralName) -> Path:
    """Write a certificate that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "certificate.pem"
    path.write_bytes(made.public_bytes(encoding))
    (folder / "both.pem").write_bytes(private + made.public_bytes(encoding))
    return path


@contextmanager
def _server(certificate: Path) -> Iterator[str]:
    """Answer each request over TLS, and give the endpoint."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.parent / "both.pem")
    started, stopped, ports = threading.Event(), asyncio.Event(), list[int]()
    loops: list[asyncio.AbstractEventLoop] = []

    async def answer(reader: Any, writer: Any) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length or 0))
                writer.write(_REPLY)
                await writer.drain()
        except (EOFError, OSError):
            pass
        finally:
            writer.transport.abort()

    async def serve() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        ports.append(server.sockets[0].getsockname()[1])
        loops.append(asyncio.get_running_loop())
        started.set()
        await stopped.wait()
        server.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    started.wait(30)
    try:
        yield f"https://127.0.0.1:{ports[0]}"
    finally:
        loops[0].call_soon_threadsafe(stopped.set)
        thread.join(30)


def _manager(folder: Path, url: str, sink: Threads) -> ModelManager:
    (folder / "dev.yaml").write_text(
        f"aws: {{region: us-east-1, endpoint_url: '{url}'}}\nmetrics: {{sink: memory}}\n"
        f"agents: {{a: {{model: '{SONNET}', fallbacks: [], retries: 0}}}}\n"
    )
    return ModelManager(ConfigurationManager("dev", folder), sinks=[sink])


def test_a_certificate_of_botocores_ca_file_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = _certificate(tmp_path, x509.IPAddress(ip_address("127.0.0.1")))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    sink = Threads()
    with _server(certificate) as url, _manager(tmp_path, url, sink) as manager:
        llm = manager.chat_model("a")

        async def calls() -> list[str]:
            first = await llm.ainvoke("x")  # on a thread: boto3 forms its request
            client = manager.clients.runtime()
            await asyncio.to_thread(wait, lambda: is_ready_for_asyncio(client, "Converse"))
            return [first.text, *(r.text for r in await llm.abatch(["x"] * 3))]

        assert asyncio.run(calls()) == ["seven"] * 4

    assert sink.names[1:] == ["MainThread"] * 3


@pytest.mark.parametrize(
    ("name", "trusted"),
    [("another.example", True), (None, False)],
    ids=["another host", "another CA"],
)
def test_a_certificate_of_another_host_or_ca_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None, *, trusted: bool
) -> None:
    host = x509.IPAddress(ip_address("127.0.0.1")) if name is None else x509.DNSName(name)
    good, bad = tmp_path / "good", tmp_path / "bad"
    for folder in (good, bad):
        folder.mkdir()
    first = _certificate(good, x509.IPAddress(ip_address("127.0.0.1")))
    second = _certificate(bad, host)
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(first.read_text() + (second.read_text() if trusted else ""))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    sink = Threads()
    with _server(first) as url, _manager(tmp_path, url, sink) as manager:
        llm = manager.chat_model("a")
        asyncio.run(llm.ainvoke("x"))
        client = manager.clients.runtime()
        wait(lambda: is_ready_for_asyncio(client, "Converse"))
        with _server(second) as other:
            calls: Any = client._modelmgr_calls
            form = calls._operations["Converse"].form
            form._learned = form._learned._replace(endpoint=other)

            with pytest.raises(BedrockConnectionError) as awaited:
                asyncio.run(llm.ainvoke("x"))
            with pytest.raises(BedrockConnectionError) as synchronous:
                llm.invoke("x")

    assert "CERTIFICATE_VERIFY_FAILED" in str(awaited.value)
    assert str(awaited.value) == str(synchronous.value)
    assert type(awaited.value.__cause__) is type(synchronous.value.__cause__)
    assert sink.names[1:] == ["MainThread"] * 2
