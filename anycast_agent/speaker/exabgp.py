"""ExaBGP's configuration, made from ours.

The configuration carries its own revision as each neighbor's description, which ExaBGP shows and does not compare: so
a reload can be verified, and changes no session that does not differ.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from anycast_agent.core.model import Neighbor, SpeakerConfig

OLDEST = (5, 0)


class SpeakerError(Exception):
    """A problem with ExaBGP or its files. The text says where, and names the remedy."""


def check_version() -> str:
    """ExaBGP's version. Raises SpeakerError where it is missing or too old."""
    try:
        version = importlib.metadata.version("exabgp")
    except importlib.metadata.PackageNotFoundError:
        raise SpeakerError(f"ExaBGP is not installed beside {sys.executable}: pip install 'exabgp>=5.0.15'") from None
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST:
        raise SpeakerError(f"ExaBGP {version} is too old, 5.0 is needed: pip install 'exabgp>=5.0.15'")
    return version


@dataclass(frozen=True, slots=True)
class Paths:
    """The files that the agent and the speaker share in the run directory."""

    run_dir: Path
    apart: bool = False
    """ExaBGP runs as another user than we do, who writes nowhere but in a folder of its own."""

    @property
    def configuration(self) -> Path:
        return self.run_dir / "exabgp.conf"

    @property
    def trial(self) -> Path:
        """A configuration that ExaBGP is asked about before it replaces the one above."""
        return self.run_dir / "exabgp.conf.trial"

    @property
    def settings(self) -> Path:
        return self.run_dir / "pipe.json"

    @property
    def socket(self) -> Path:
        """The socket that the pipe listens on."""
        return (self.run_dir / "speaker" if self.apart else self.run_dir) / "speaker.sock"

    @property
    def lock(self) -> Path:
        """The file that ExaBGP locks while it runs."""
        return self.run_dir / "exabgp.lock"


# --- configuration ------------------------------------------------------------------------------------------


def render(config: SpeakerConfig, paths: Paths) -> tuple[str, str]:
    """(ExaBGP's configuration, its revision). A neighbor whose router has not been seen yet is left out.

    Raises SpeakerError if a file cannot be read, or a value cannot be expressed.
    """
    neighbors = [_neighbor(n, config) for n in config.neighbors.values() if n.address]
    revision = hashlib.sha256("\n".join(neighbors).encode()).hexdigest()[:16]
    words = (sys.executable, "-m", "anycast_agent.speaker.pipe", str(paths.socket), str(paths.settings))
    run = " ".join(quoted(word) for word in words)
    process = f"process agent {{\n  run {run};\n  encoder json;\n}}\n"
    return process + "".join(n.replace(_REVISION, f'description "{revision}";') for n in neighbors), revision


def quoted(text: str) -> str:
    """Quote a string for ExaBGP. It resolves escapes before it looks for quotes, so none of its strings can hold a
    quote."""
    if not text.isprintable() or '"' in text or "'" in text:
        raise SpeakerError(f"ExaBGP cannot read a path with a quote or a control character: {text!r}")
    return '"' + text.replace("\\", "\\\\") + '"'


_REVISION = "description-of-the-revision;"


def _neighbor(n: Neighbor, config: SpeakerConfig) -> str:
    # Graceful restart is off: with it, a router keeps the routes of a speaker that has died.
    capabilities = ["graceful-restart disable;", "route-refresh enable;"]
    if n.add_path_receive:
        capabilities.append("add-path receive;")
    if n.extended_next_hop:
        capabilities.append("nexthop enable;")
    lines = [
        _REVISION,
        f"router-id {n.router_id or config.router_id};" if n.router_id or config.router_id else "",
        f"local-address {n.local_address or 'auto'};",
        f"source-interface {n.interface};" if n.interface else "",
        f"local-as {n.local_as};",
        f"peer-as {n.remote_as};",
        f"hold-time {n.hold_time};",
        f"connect {n.port};" if n.port != 179 else "",
        *(_md5(_password(n)) if n.password_file else ()),
        *_ttl(n),
        f"family {{ {' '.join(f'{family} unicast;' for family in n.families)} }}",
        "nexthop { ipv4 unicast ipv6; }" if n.extended_next_hop else "",
        f"capability {{ {' '.join(capabilities)} }}",
        "api { processes [ agent ]; neighbor-changes; receive { parsed; open; update; notification; } "
        "send { parsed; update; } }",
    ]
    return f"neighbor {n.address} {{\n" + "".join(f"  {line}\n" for line in lines if line) + "}\n"


def _ttl(n: Neighbor) -> list[str]:
    """GTSM (RFC 5082): send with TTL 255, and accept only packets sent with 255 from at most the configured hops
    away."""
    if n.ttl_security is not None:
        return ["outgoing-ttl 255;", f"incoming-ttl {256 - n.ttl_security};"]
    return [f"outgoing-ttl {n.multihop};"] if n.multihop is not None else []


def _md5(password: str) -> list[str]:
    """Any printable password; in Base64 if it has a character that ExaBGP's strings cannot hold."""
    if '"' in password or "'" in password:
        return ["md5-base64 true;", f'md5-password "{base64.b64encode(password.encode()).decode()}";']
    return [f"md5-password {quoted(password)};"]


def _password(n: Neighbor) -> str:
    try:
        text = Path(n.password_file or "").read_text("utf-8")
    except (OSError, ValueError) as error:
        raise SpeakerError(f"the password file of neighbor {n.name} cannot be read: {error}") from error
    password = text.strip("\r\n")
    if not password or len(password) > 80 or not password.isascii() or not password.isprintable():
        raise SpeakerError(f"{n.password_file}: an MD5 password is 1 to 80 printable ASCII characters on one line")
    return password


def settings(config: SpeakerConfig, owned: bool) -> str:
    """The pipe's own settings, as JSON."""
    allow = sorted(config.prefixes)
    values = {
        "dead_man": config.dead_man,
        "adopt_for": config.adopt_for,
        "keep_for": config.keep_for,
        "allow": allow,
        "owned": owned,
    }
    return json.dumps(values)
