"""The TLS settings of a boto3 client's HTTP session, for connections of another library.

The attributes of the session are private in botocore 1.43.68 to 1.44.5; without them boto3 sends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl


def has_ordinary_tls(session: Any, url: str) -> bool:
    """Return whether a session verifies, and has neither a proxy nor a client certificate.

    Args:
        session: The HTTP session of a boto3 client.
        url: The endpoint.
    """
    from botocore.httpsession import URLLib3Session

    if type(session) is not URLLib3Session:
        return False
    http: Any = session
    return (
        http._proxy_config.proxy_url_for(url) is None  # noqa: SLF001
        and http._cert_file is None  # noqa: SLF001
        and (http._verify is True or isinstance(http._verify, str))  # noqa: SLF001
    )


def tls_context(session: Any) -> ssl.SSLContext:
    """Return a context that verifies the host as the session does, with botocore's CA file."""
    import ssl

    from botocore.httpsession import create_urllib3_context, get_cert_path

    context: ssl.SSLContext = create_urllib3_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = True
    context.load_verify_locations(get_cert_path(session._verify))  # noqa: SLF001
    context.set_alpn_protocols(["http/1.1"])
    return context
