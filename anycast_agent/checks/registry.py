"""The kinds of checks there are. A new one is a file with its parameters and its probe, and a line here."""

from __future__ import annotations

from anycast_agent.checks import dns, http, tcp
from anycast_agent.checks import exec as programs
from anycast_agent.checks.base import Params
from anycast_agent.checks.dns import DnsParams
from anycast_agent.checks.exec import ExecParams
from anycast_agent.checks.http import HttpParams
from anycast_agent.checks.outcomes import COMMON, Code
from anycast_agent.checks.tcp import TcpParams

KINDS: dict[str, type[Params]] = {"tcp": TcpParams, "http": HttpParams, "dns": DnsParams, "exec": ExecParams}

OUTCOMES: dict[str, tuple[Code, ...]] = {
    "tcp": (*COMMON, *tcp.OUTCOMES),
    "http": (*COMMON, *http.OUTCOMES),
    "dns": (*COMMON, *dns.OUTCOMES),
    "exec": (*COMMON, *programs.OUTCOMES),
}


def has_own_target(params: Params) -> bool:
    """Whether the parameters name where to ask; otherwise the service's own addresses are asked."""
    match params:
        case TcpParams():
            return params.target is not None
        case HttpParams():
            return params.url is not None
        case DnsParams():
            return params.server is not None
    return True
