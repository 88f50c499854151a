"""The server of `elmo explore`: a socket and uvicorn."""

import errno
import socket
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, List

import uvicorn

LOCALHOST = "127.0.0.1"
PORT = 8000

_MAX_CONNECTIONS = 32
_MAX_REQUEST_BYTES = 1 << 16
"""Size of a request's line and headers. No page accepts a body."""


def listen(host: str, port: int) -> socket.socket:
    """Open the socket, before anything slow is loaded.

    host (str): A name or an address of this machine.
    port (int): The port; 0 for any that is free.
    RAISES: ValueError if the port is out of range; OSError if it is in use, not
        permitted, or the host is not this machine.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"--port: expected a number from 0 to 65535, found {port}.")
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise OSError(
            f"--host {host}: expected a name or an address of this machine ({error})."
        ) from error
    listener = socket.socket(family, kind, protocol)
    try:
        # Allows restarting on the same port immediately.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        found = {
            errno.EADDRINUSE: "found it in use. Stop the other program, or choose "
            "another port with --port (0 for any that is free)",
            errno.EACCES: "found that it needs privileges. Choose one above 1023 with "
            "--port",
            errno.EADDRNOTAVAIL: "found that the host is another machine's. Choose "
            "another with --host",
        }.get(error.errno or 0, f"found {error.strerror}")
        raise OSError(f"expected a free port, {host}:{port}, {found}.") from error
    return listener


def address_of(listener: socket.socket) -> str:
    """The address to open in a browser."""
    host, port = listener.getsockname()[:2]
    if ip_address(host).is_unspecified:  # all addresses of this machine
        host = "[::1]" if ":" in host else LOCALHOST
    elif ":" in host:
        host = f"[{host}]"
    return f"http://{host}:{port}/"


def host_names(host: str) -> List[str]:
    """Names under which this server is reached: the one that was asked for and, if
    other machines can reach it, the machine's."""
    names = [host, socket.gethostname(), socket.getfqdn()]
    return [name.lower() for name in (names[:1] if host == LOCALHOST else names)]


def serve(app: Any, listener: socket.socket) -> None:
    """Answer requests until the process is interrupted."""
    with suppress(KeyboardInterrupt):
        uvicorn.Server(make_config(app)).run(sockets=[listener])


def make_config(app: Any) -> uvicorn.Config:
    """Settings of the server: nothing is logged that users type, and requests are
    bounded in size and number."""
    return uvicorn.Config(
        app,
        http="h11",
        h11_max_incomplete_event_size=_MAX_REQUEST_BYTES,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_graceful_shutdown=1,
    )
