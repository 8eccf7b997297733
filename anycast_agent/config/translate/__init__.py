"""From the models to the core's values: one module for each section, one report for all of their problems."""

from __future__ import annotations

from typing import Any

from anycast_agent.config import types
from anycast_agent.config.loaded import ProcessSettings
from anycast_agent.config.models import RootModel
from anycast_agent.config.problems import ConfigError
from anycast_agent.config.report import Report
from anycast_agent.config.shape import shaped, with_known_keys
from anycast_agent.config.translate.checks import report_checks
from anycast_agent.config.translate.neighbors import Peers, core_neighbors
from anycast_agent.config.translate.process import process_settings
from anycast_agent.config.translate.services import core_services
from anycast_agent.core import model as core
from anycast_agent.core.consumers import AsideConfig


def translated(values: Any, report: Report, elsewhere: bool) -> tuple[core.Config, ProcessSettings]:
    """The core's configuration and the process's settings. Raises ConfigError with every problem.

    ``elsewhere``: the files that the configuration names are on another machine.
    """
    known = with_known_keys(values, report)
    root = shaped(known, report)
    if report.problems:
        report_checks(report, known, elsewhere)
    if root is None:
        raise ConfigError(report.problems)
    _check_node(report, root)
    neighbors = core_neighbors(report, root.bgp, elsewhere)
    peers = Peers(neighbors, {name: n.attributes for name, n in root.bgp.neighbors.items()})
    services = core_services(report, root, peers, elsewhere)
    process = process_settings(report, root.agent, root.node.name)
    if report.problems:
        raise ConfigError(report.problems)
    return _config(root, neighbors, services), process


def _check_node(report: Report, root: RootModel) -> None:
    report.checked(("node", "name"), types.name, root.node.name)
    if root.node.site:
        report.checked(("node", "site"), types.name, root.node.site)
    if not 0.5 <= root.agent.dead_man <= 600:
        report.problem(("agent", "dead_man"), "dead_man is 500ms to 10m")
    if root.agent.keep_for < root.agent.dead_man:
        report.problem(("agent", "keep_for"), "keep_for is shorter than dead_man: what is to be kept would go first")


def _config(root: RootModel, neighbors: dict[str, core.Neighbor], services: dict[str, core.Service]) -> core.Config:
    node, agent = root.node, root.agent
    return core.Config(
        node=node.name,
        site=node.site,
        neighbors=neighbors,
        services=services,
        router_id=root.bgp.router_id,
        local_as=root.bgp.local_as,
        interface=node.interface,
        address_mode=core.AddressMode(node.addresses),
        return_route=core.ReturnRouteRule(node.return_route),
        consumers=_consumers(root),
        dead_man=agent.dead_man,
        adopt_for=agent.adopt_for,
        keep_for=agent.keep_for,
        stop_within=agent.stop_within,
    )


def _consumers(root: RootModel) -> AsideConfig:
    written = root.node.local_consumers
    aside = (name for name, service in root.services.items() if service.local_consumers != "off")
    programs = tuple(n for n in aside if any(c.get("type") == "exec" for c in root.services[n].checks.values()))
    return AsideConfig(table=written.table, interfaces=written.interfaces, mark=written.mark, programs=programs)
