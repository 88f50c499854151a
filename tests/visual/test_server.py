"""The socket of `elmo explore`, and real requests over it."""

from __future__ import annotations

import socket

import pytest

pytest.importorskip("uvicorn")
import httpx
from helpers.explorers import make_explorer, served

from spacy_elmo.visual.explore import server
from spacy_elmo.visual.explore.app import create_app


def test_requests_over_the_socket() -> None:
    with served(create_app(make_explorer())) as address:
        with httpx.Client(base_url=address, trust_env=False) as client:
            assert client.get("/").status_code == 200
            assert "server" not in client.get("/").headers
            assert status_of(client, 50_000) == 200
            assert status_of(client, 5_000_000) == 400
        port = int(address.rsplit(":", 1)[1].strip("/"))
        with pytest.raises(OSError, match=rf"127.0.0.1:{port}, found it in use"):
            server.listen("127.0.0.1", port)


def status_of(client: httpx.Client, size: int) -> int:
    """Status of a request of this size."""
    try:
        return client.get("/", headers={"x-long": "x" * size}).status_code
    except httpx.TransportError:  # closed before all of it was sent
        return 400


def test_only_this_machine_by_default() -> None:
    assert server.LOCALHOST == "127.0.0.1"
    with server.listen(server.LOCALHOST, 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        assert server.host_names(server.LOCALHOST) == ["127.0.0.1"]


def test_all_addresses_if_told() -> None:
    with server.listen("0.0.0.0", 0) as listener:
        port = listener.getsockname()[1]
        assert server.address_of(listener) == f"http://127.0.0.1:{port}/"
    assert socket.gethostname().lower() in server.host_names("0.0.0.0")


@pytest.mark.parametrize("port", [-1, 65536])
def test_port_out_of_range(port: int) -> None:
    with pytest.raises(ValueError, match=f"from 0 to 65535, found {port}"):
        server.listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["no such host", "a" * 300, "192.0.2.1"])
def test_hosts_of_other_machines(host: str) -> None:
    with pytest.raises(OSError, match="--host"):
        server.listen(host, 0)
