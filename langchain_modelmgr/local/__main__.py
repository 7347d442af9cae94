"""``python -m langchain_modelmgr.local``: print the settings and serve until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
import threading

from langchain_modelmgr.local.aws import LocalAWS


def main() -> None:
    """Print the settings and run the server; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m langchain_modelmgr.local", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (0: a free one)")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that a reply takes")
    parser.add_argument("--chunk-delay", type=float, default=0.0, help="seconds between events")
    arguments = parser.parse_args()
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    try:
        aws = LocalAWS(arguments.port).start()
    except (OSError, OverflowError) as error:
        parser.error(f"port {arguments.port} can't be served: {error}")
    with aws, contextlib.suppress(KeyboardInterrupt):
        aws.latency(None, arguments.latency, chunk_delay=arguments.chunk_delay)
        for name, value in aws.env().items():
            print(f"export {name}={shlex.quote(value)}")
        print("unset AWS_PROFILE AWS_SESSION_TOKEN AWS_BEARER_TOKEN_BEDROCK", flush=True)
        stopped.wait()
    print("stopped")


if __name__ == "__main__":
    main()
