"""The process's own settings: its folders, its control socket, and the address of its pages."""

from __future__ import annotations

import ipaddress
import os

from anycast_agent.config import types
from anycast_agent.config.loaded import ProcessSettings
from anycast_agent.config.models import AgentModel
from anycast_agent.config.report import Report
from anycast_agent.config.source import Where

MAX_PATH = 80
"""Bytes. The path of a Unix socket may have 107, and a name is added to these folders."""


def process_settings(report: Report, agent: AgentModel, node: str) -> ProcessSettings:
    """The settings, and a warning if the pages can be read from other machines."""
    for field in ("control_socket", "run_dir", "state_dir"):
        path = getattr(agent, field)
        if not path.is_absolute() or "\0" in str(path):
            report.problem(("agent", field), f"{field} is an absolute path, beginning with /")
        elif len(os.fsencode(path)) > MAX_PATH:
            text = f"{field} is longer than a Unix socket's path may be: at most {MAX_PATH} bytes"
            report.problem(("agent", field), text)
    host, port = _listen(report, agent.api.listen)
    for i, name in enumerate(agent.api.allowed_hosts):
        report.checked(("agent", "api", "allowed_hosts", i), types.host_pattern, name)
    names = (node, *(name for name in agent.api.allowed_hosts if name != node))
    paths = (agent.control_socket, agent.run_dir, agent.state_dir)
    return ProcessSettings(host, port, names, *paths, agent.exec_slots)


def _listen(report: Report, written: str) -> tuple[str, int]:
    where: Where = ("agent", "api", "listen")
    try:
        host, port = types.listening(written)
    except ValueError as error:
        report.problem(where, str(error))
        return "127.0.0.1", 0
    ip = ipaddress.ip_address(host)
    if not ip.is_loopback:
        reached = "every address of the node" if ip.is_unspecified else host
        text = f"whoever reaches {reached} on port {port} can read every page: filter it"
        report.warning(where, text)
    return host, port
