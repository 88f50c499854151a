"""Protection of `elmo explore` against requests that other sites make the user's
browser send."""

from ipaddress import ip_address
from typing import Collection, Mapping, Optional
from urllib.parse import urlsplit

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; "
    "script-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""Headers of every response: nothing from outside, no frames, nothing stored."""


def refuse(
    headers: Mapping[str, str], method: str, names: Collection[str]
) -> Optional[str]:
    """Decide about a request.

    headers (Mapping[str, str]): Its headers, names in lower case.
    method (str): Its method.
    names (Collection[str]): Host names of this server, in lower case.
    RETURNS (Optional[str]): Why it is refused, or None if it is answered.
    """
    host = headers.get("host", "")
    if not is_own_host(host, names):
        # With DNS rebinding, another site's name resolves to this machine.
        return (
            f"expected localhost or an IP address in the Host header, found {host!r}. "
            "Open the address that elmo explore printed."
        )
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return f"expected a request of this page, found one of {origin!r}."
    site = headers.get("sec-fetch-site", "none")
    is_link = headers.get("sec-fetch-mode") == "navigate" and method == "GET"
    is_link = is_link and headers.get("sec-fetch-dest", "document") == "document"
    if site not in ("none", "same-origin") and not is_link:
        return "expected a request of this page, found one of another site."
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        return "expected a request without a body, found one."
    return None


def is_own_host(host: str, names: Collection[str]) -> bool:
    """Whether a Host header names this server: by one of its names, or by an address,
    which no DNS record can fake.

    host (str): The header, with or without a port.
    names (Collection[str]): Host names of this server, in lower case.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name in ("localhost", *names):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
