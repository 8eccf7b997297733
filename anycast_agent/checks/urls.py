"""URLs as written: the path and the query are sent unchanged.

Only characters that a request line cannot hold are encoded: spaces and letters beyond ASCII. A parser that
"normalises" decodes %2F in a query, drops the ? of an empty one, and so breaks signed URLs.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote

from yarl import URL

_URL = re.compile(r"(https?)://([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
_NO_URL = "url: write http://… or https://… with a host"


@lru_cache(maxsize=4096)
def as_written(text: str) -> URL:
    """Without its fragment, which is never sent. Raises ValueError."""
    found = _URL.fullmatch(text)
    if found is None:
        raise ValueError(_NO_URL)
    if _CONTROL.search(text):
        raise ValueError("url: a line break or another control character is not allowed")
    scheme, authority, path, query, _ = found.groups()
    whole = URL(f"{scheme.lower()}://{authority}")
    if whole.raw_host is None or whole.port is None:
        raise ValueError(_NO_URL)
    path, query = quote(path or "/", _PRINTABLE), quote(query or "", _PRINTABLE)
    if query == "?":  # an empty query is none to yarl
        path, query = path + query, ""
    authority = _zone_as_sockets_want_it(whole.raw_authority)
    return URL.build(scheme=whole.scheme, authority=authority, path=path, query_string=query[1:], encoded=True)


def _zone_as_sockets_want_it(authority: str) -> str:
    """An address's zone is written %25eth0 in a URL (RFC 6874), and %eth0 everywhere else."""
    user, at, host = authority.rpartition("@")
    return user + at + (host.replace("%25", "%", 1) if host.startswith("[") else host)


def host_header(url: URL) -> str | None:
    """The host, if it differs from the URL's own: a zone belongs to this node alone, and is never sent."""
    host = url.raw_host or ""
    if "%" not in host:
        return None
    port = "" if url.is_default_port() else f":{url.port}"
    return f"[{host.partition('%')[0]}]{port}"


def ascii_name(name: str) -> str:
    """A host's name as DNS, TLS and HTTP carry it (IDNA). Raises ValueError."""
    if name.isascii():
        return name
    return str(URL.build(scheme="http", host=name).raw_host)
