"""TLS of probes: the authorities that they trust, and their own certificate."""

from __future__ import annotations

import ssl
from functools import lru_cache
from pathlib import Path

Stamp = tuple[int, int, int] | None


def stamp(path: str | None) -> Stamp:
    """It changes when the file does: certificates are renewed where they lie. Raises OSError."""
    if path is None:
        return None
    found = Path(path).stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


@lru_cache(maxsize=256)
def context(
    verify: bool,
    ca_file: str | None,
    cert_file: str | None,
    key_file: str | None,
    stamps: tuple[Stamp, ...],
    alpn: tuple[str, ...],
) -> ssl.SSLContext:
    """Raises OSError, of which ssl.SSLError is one."""
    if verify:
        made = ssl.create_default_context(cafile=ca_file)
        # What curl and the users' clients take. Python refuses, from 3.13 on, certificates that lack extensions of
        # RFC 5280, as private authorities like to write them: an upgrade would withdraw services that work.
        made.verify_flags = (made.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN) & ~ssl.VERIFY_X509_STRICT
    else:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if alpn:
        made.set_alpn_protocols(list(alpn))
    if cert_file is not None:
        made.load_cert_chain(cert_file, key_file, password="")  # nobody is asked for one
    return made
