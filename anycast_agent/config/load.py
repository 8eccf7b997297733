"""From files to the core's configuration: read, merge, validate, translate. Every problem is found before it ends."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from anycast_agent.checks.base import Params
from anycast_agent.checks.exec import ExecParams
from anycast_agent.checks.registry import KINDS, has_own_target
from anycast_agent.config import report as words
from anycast_agent.config import types
from anycast_agent.config.hints import kind_meant
from anycast_agent.config.models import (
    AgentModel,
    AtLeast,
    AttributesModel,
    BgpModel,
    CheckModel,
    NeighborModel,
    RootModel,
    ServiceModel,
)
from anycast_agent.config.problems import ConfigError, Problem, did_you_mean
from anycast_agent.config.programs import unreadable_file, unusable_program
from anycast_agent.config.report import Report
from anycast_agent.config.shape import shaped, with_known_keys
from anycast_agent.config.source import FILES_MOST, Places, Where, parse, read
from anycast_agent.config.types import shown
from anycast_agent.core import model as core

PREFIXES_MOST = 10_000
INTERVAL_LEAST = 0.05
M = TypeVar("M", bound=BaseModel)
_DIGEST_KEY = secrets.token_bytes(32)


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """What a process is started with and a reload does not change."""

    api_host: str
    api_port: int
    allowed_hosts: tuple[str, ...]
    control_socket: Path
    run_dir: Path
    state_dir: Path
    exec_slots: int


@dataclass(frozen=True, slots=True)
class Loaded:
    config: core.Config
    process: ProcessSettings
    files: tuple[Path, ...]
    texts: Mapping[Path, str]
    """What stood in each of the files."""
    warnings: tuple[Problem, ...] = ()
    """What can be run and may not be meant."""
    missing: tuple[Problem, ...] = ()
    """Files that checks name and this machine does not have, or cannot use. Only these checks suffer for it."""


def load(path: Path, *, elsewhere: bool = False) -> Loaded:
    """Read a configuration and its conf.d. Blocks for file reads; raises ConfigError with every problem.

    ``elsewhere``: it is for another machine, and the other files that it names are not looked at.
    """
    texts: dict[Path, str] = {}

    def text(file: Path) -> str:
        return texts.setdefault(file, read(file))

    return replace(_understood((path, *_drop_ins(path)), text, elsewhere), texts=texts)


def load_texts(texts: Mapping[Path, str], *, elsewhere: bool = False) -> Loaded:
    """The same from what stood in the files, the first one first: whatever stands in them by now."""
    return replace(_understood(tuple(texts), texts.__getitem__, elsewhere), texts=texts)


def _understood(files: tuple[Path, ...], text: Callable[[Path], str], elsewhere: bool) -> Loaded:
    merged, places = _merge(files, text)
    return _Translation(merged, places, files, elsewhere).whole()


def _drop_ins(path: Path) -> list[Path]:
    folder = path.parent / "conf.d"
    try:
        visible = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError([Problem(str(folder), 1, 1, f"cannot be read: {error.strerror or error}", True)]) from None
    if missed := [p for p in visible if p.suffix in (".yml", ".YAML", ".YML")]:
        # To pass over a file that somebody put there would be to say nothing about it.
        text = "only *.yaml is read here: rename it"
        raise ConfigError([Problem(str(p), 1, 1, text) for p in missed])
    found = [p for p in visible if p.suffix == ".yaml"]
    if len(found) > FILES_MOST:
        raise ConfigError([Problem(str(folder), 1, 1, f"more than {FILES_MOST:,} files")])
    return found


def _merge(files: Iterable[Path], text: Callable[[Path], str]) -> tuple[dict[str, Any], Places]:
    """Services and neighbors of every file together; the rest stands in the first alone."""
    merged: dict[str, Any] = {}
    places: Places = {}
    problems: list[Problem] = []
    for number, path in enumerate(files):
        try:
            value, where = parse(text(path), str(path))
        except ConfigError as error:
            problems += error.problems
            continue
        if not isinstance(value, dict):
            problems.append(Problem(str(path), 1, 1, "the top level holds words and what they mean"))
        elif number == 0:
            merged, places = _with_empty_sections(_without_extensions(value)), where
        else:
            problems += _add(merged, places, _without_extensions(value), where)
    if problems:
        raise ConfigError(problems)
    return merged, places


def _without_extensions(values: dict[str, Any]) -> dict[str, Any]:
    """``x-…`` keys at the top level hold what anchors share, and nothing of ours."""
    return {key: value for key, value in values.items() if not key.startswith("x-")}


def _with_empty_sections(values: dict[str, Any]) -> dict[str, Any]:
    """``services:`` with nothing below it says that they stand in conf.d."""
    values = {k: {} if v is None and k in _SECTIONS else v for k, v in values.items()}
    bgp = values.get("bgp")
    if isinstance(bgp, dict) and "neighbors" in bgp and bgp["neighbors"] is None:
        values["bgp"] = {**bgp, "neighbors": {}}
    return values


_SECTIONS = frozenset({"node", "agent", "services"})


def _add(merged: dict[str, Any], places: Places, value: dict[str, Any], where: Places) -> list[Problem]:
    problems = []
    bgp = value.get("bgp")
    for key in value:
        if key not in ("services", "bgp"):
            problems.append(Problem(*where[key,], f"in conf.d only services and bgp.neighbors may stand, not {key!r}"))
    for key in bgp if isinstance(bgp, dict) else ():
        if key != "neighbors":
            text = f"in conf.d only services and bgp.neighbors may stand, not 'bgp.{key}'"
            problems.append(Problem(*where["bgp", key], text))
    if bgp is not None and not isinstance(bgp, dict):
        problems.append(Problem(*where["bgp",], "bgp holds neighbors: and what they are"))
    sections: list[tuple[Where, Any]] = [(("services",), value.get("services"))]
    sections.append((("bgp", "neighbors"), bgp.get("neighbors") if isinstance(bgp, dict) else None))
    for base, entries in sections:
        if entries is not None and not isinstance(entries, dict):
            problems.append(Problem(*where[base], f"{'.'.join(map(str, base))} holds names and what they are"))
            continue
        target = merged
        for word in base:
            target = target.setdefault(str(word), {})
            if not isinstance(target, dict):
                return problems  # said by the validation of the first file
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            if name in target:
                first = places[*base, name]
                problems.append(Problem(*where[*base, name], f"{name!r} stands in {first[0]}:{first[1]} already"))
            target[name] = entry
        places.update({k: v for k, v in where.items() if k[: len(base)] == base and len(k) > len(base)})
    return problems


class _Translation:
    """One pass over the whole; collects problems, and gives the core's values where there are none."""

    def __init__(self, values: dict[str, Any], places: Places, files: tuple[Path, ...], elsewhere: bool) -> None:
        self._values = values
        self._files = files
        self._elsewhere = elsewhere
        self._report = Report(places, str(files[0]))
        self._problem = self._report.problem
        self._checked = self._report.checked
        self._sound = self._report.sound

    # --- the whole ---

    def whole(self) -> Loaded:
        root = self._root()
        neighbors = self._neighbors(root.bgp) if root else {}
        services = self._services(root, neighbors) if root else {}
        process = self._process(root.agent, root.node.name) if root else None
        if self._report.problems or root is None or process is None:
            raise ConfigError(self._report.problems)
        node, agent = root.node, root.agent
        config = core.Config(
            node=node.name,
            site=node.site,
            neighbors=neighbors,
            services=services,
            router_id=root.bgp.router_id,
            local_as=root.bgp.local_as,
            interface=node.interface,
            address_mode=core.AddressMode(node.addresses),
            way_back=core.WayBackRule(node.way_back),
            dead_man=agent.dead_man,
            adopt_for=agent.adopt_for,
            stop_within=agent.stop_within,
        )
        report = self._report
        return Loaded(
            config, process, self._files, {}, tuple(sorted(set(report.warnings))), tuple(sorted(set(report.missing)))
        )

    def _root(self) -> RootModel | None:
        known = with_known_keys(self._values, self._report)
        root = shaped(known, self._report)
        if self._report.problems:
            self._checks_alone(known)
        if root is None:
            return None
        self._checked(("node", "name"), types.name, root.node.name)
        if root.node.site:
            self._checked(("node", "site"), types.name, root.node.site)
        if not 0.5 <= root.agent.dead_man <= 600:
            self._problem(("agent", "dead_man"), "dead_man is 500ms to 10m")
        return root

    def _checks_alone(self, values: Any) -> None:
        """The checks' own parameters are read apart: their problems belong on the same list, whatever else is wrong."""
        services = values.get("services")
        for name, service in services.items() if isinstance(services, dict) else ():
            checks = service.get("checks") if isinstance(service, dict) else None
            for check, written in checks.items() if isinstance(checks, dict) else ():
                if isinstance(written, dict):
                    self._check(("services", name, "checks", check), written)

    # --- neighbors ---

    def _neighbors(self, bgp: BgpModel) -> dict[str, core.Neighbor]:
        neighbors: dict[str, core.Neighbor] = {}
        by_address: dict[str, str] = {}
        for name, written in bgp.neighbors.items():
            where: Where = ("bgp", "neighbors", name)
            self._checked(where, types.name, name)
            if written.address in by_address:
                self._problem((*where, "address"), f"neighbor {by_address[written.address]} has this address already")
            by_address.setdefault(written.address, name)
            neighbors[name] = self._neighbor(where, name, written, bgp)
        listening = {name: n for name, n in neighbors.items() if n.listen}
        for name, n in listening.items():
            first = next(iter(listening.values()))
            if n.port != first.port:
                text = f"ExaBGP listens on one port, and neighbor {first.name} has {first.port}"
                self._problem(("bgp", "neighbors", name, "port"), text)
        return neighbors

    def _neighbor(self, where: Where, name: str, written: NeighborModel, bgp: BgpModel) -> core.Neighbor:
        if written.password is not None:
            self._problem((*where, "password"), "no secret stands in the YAML: put it in a file, name password_file")
        if written.ttl_security is not None and written.multihop is not None:
            self._problem((*where, "multihop"), "ttl_security says how far away the neighbor is; leave multihop out")
        own = core.family_of(written.address)
        if written.local_address is not None and core.family_of(written.local_address) is not own:
            self._problem(
                (*where, "local_address"), f"{written.local_address} is not of the family of {written.address}"
            )
        if written.listen and written.local_address is None:
            self._problem((*where, "listen"), "to listen, a local_address is needed")
        if written.extended_next_hop and own is core.Family.IPV4:
            self._problem((*where, "extended_next_hop"), "RFC 8950 carries IPv4 over an IPv6 session; this one is IPv4")
        families = tuple(core.Family(f) for f in written.families) if written.families else (own,)
        if written.families is None and written.extended_next_hop:
            families = (core.Family.IPV4, core.Family.IPV6)
        if written.extended_next_hop and core.Family.IPV4 not in families:
            self._problem((*where, "families"), "extended_next_hop is for IPv4 routes: ipv4 is not among the families")
        if len(set(families)) != len(families):
            self._problem((*where, "families"), "a family stands here twice")
        return core.Neighbor(
            name=name,
            address=written.address,
            remote_as=written.remote_as,
            local_as=written.local_as or bgp.local_as,
            local_address=written.local_address,
            router_id=bgp.router_id,
            hold_time=written.hold_time,
            families=families,
            password_file=str(written.password_file) if written.password_file else None,
            password_digest=self._password((*where, "password_file"), written.password_file),
            ttl_security=written.ttl_security,
            multihop=written.multihop,
            extended_next_hop=written.extended_next_hop,
            add_path_receive=written.add_path_receive,
            port=written.port,
            listen=written.listen,
        )

    def _password(self, where: Where, path: Path | None) -> str:
        """What changes when the password does, and says nothing of it."""
        secret = None if path is None else self._secret(where, path)
        if secret is None:
            return ""
        password = secret.strip(b"\r\n")
        if not 1 <= len(password) <= 80 or not all(32 <= byte < 127 for byte in password):
            text = f"{path} holds the password alone: 1 to 80 printable ASCII characters on one line"
            self._problem(where, text)
        # Keyed by a number of this process: from a plain digest, a short password could be guessed.
        return hashlib.blake2b(password, key=_DIGEST_KEY, digest_size=8).hexdigest()

    def _secret(self, where: Where, path: Path) -> bytes | None:
        """The first of a secret's file; None, and a problem, for one that is no secret, as others can read it."""
        try:
            if not path.is_absolute():
                raise ValueError("write the absolute path of a file that holds the secret")
            if self._elsewhere:
                return None
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise ValueError(f"{path} is not a file")
            if status.st_mode & 0o077:
                raise ValueError(f"{path} can be read by others: chmod 600 {path}")
            if status.st_uid not in (0, os.geteuid()):
                raise ValueError(f"{path} belongs to another user: chown it to root or to the agent's user")
            with path.open("rb") as file:
                return file.read(4096)
        except ValueError as error:
            self._problem(where, str(error))
        except OSError as error:
            self._problem(where, f"{path} cannot be read: {error.strerror or error}")
        return None

    # --- services ---

    def _services(self, root: RootModel, neighbors: dict[str, core.Neighbor]) -> dict[str, core.Service]:
        owners: dict[str, str] = {}
        services = {}
        for name, written in root.services.items():
            where: Where = ("services", name)
            self._checked(where, types.name, name)
            for i, prefix in enumerate(written.prefixes):
                if prefix in owners:
                    self._problem((*where, "prefixes", i), f"{prefix} is in service {owners[prefix]} already")
                owners.setdefault(prefix, name)
            self._said_of_service(where, written, root)
            services[name] = self._service(where, name, written, neighbors)
        if len(owners) > PREFIXES_MOST:
            self._problem(("services",), f"more than {PREFIXES_MOST:,} prefixes")
        self._no_anycast_address(root, {core.address_of(prefix): name for prefix, name in owners.items()})
        return services

    def _no_anycast_address(self, root: RootModel, owners: dict[str, str]) -> None:
        """Every node of the service has its address: it identifies no node, and no packet to it finds a certain one."""
        for where, address, role in _of_one_node(root):
            if address in owners:
                text = f"{address} is the anycast address of service {owners[address]}: it cannot be {role}"
                self._problem(where, text)

    def _said_of_service(self, where: Where, written: ServiceModel, root: RootModel) -> None:
        if self._sound(("agent", "stop_within")) and written.linger >= root.agent.stop_within:
            text = f"linger, {written.linger:g} s, does not fit into agent.stop_within, {root.agent.stop_within:g} s"
            self._problem((*where, "linger"), text)
        if written.hold_down.initial > written.hold_down.maximum:
            self._problem((*where, "hold_down", "initial"), "longer than hold_down.maximum")
        if written.neighbors == ():
            self._problem((*where, "neighbors"), "an empty list announces nothing: leave neighbors out for all of them")

    def _service(
        self, where: Where, name: str, written: ServiceModel, neighbors: dict[str, core.Neighbor]
    ) -> core.Service:
        checks = self._checks(where, written)
        locals_ = {c.name for c in checks if c.scope is core.Scope.LOCAL}
        sound = self._sound((*where, "checks")) and {c.name for c in checks} == set(written.checks)
        if sound and not locals_:
            text = "needs a check with scope: local; a shared one never withdraws, however dead the service is"
            self._problem((*where, "checks"), text)
        at_least = {"all": None, "any": 1}.get(str(written.require))
        if isinstance(written.require, AtLeast):
            at_least = written.require.at_least
            if sound and at_least > len(locals_):
                text = f"at_least {at_least} can never be met: there are {len(locals_)} local checks"
                self._problem((*where, "require", "at_least"), text)
        return core.Service(
            name=name,
            prefixes=written.prefixes,
            checks=checks,
            require=core.Require(at_least),
            enabled=written.enabled,
            observe_only=written.observe_only,
            attributes=self._routes(where, written, neighbors),
            hold_down=core.HoldDown(
                written.hold_down.initial, written.hold_down.maximum, max(written.hold_down.half_life, 0.001)
            ),
            linger=written.linger,
            will=core.Will(written.will),
        )

    # --- checks ---

    def _checks(self, where: Where, written: ServiceModel) -> tuple[core.Check, ...]:
        checks: list[core.Check] = []
        for name, values in written.checks.items():
            place: Where = (*where, "checks", name)
            self._checked(place, types.name, name)
            common, params = self._check(place, values)
            if common is None:
                continue
            check = self._timed(place, name, common, params)  # also where its parameters are wrong: it says more
            if params is None:
                continue
            if has_own_target(params):
                checks.append(check)
            else:
                checks += [_for_prefix(check, prefix) for prefix in written.prefixes]
        return tuple(checks)

    def _check(self, where: Where, values: dict[str, Any]) -> tuple[CheckModel | None, Params | None]:
        kind = self._kind(where, values.get("type"))
        if kind is None:
            return None, None
        model, common_keys = KINDS[kind], set(CheckModel.model_fields)
        common = self._valid(where, CheckModel, {k: v for k, v in values.items() if k in common_keys} | {"type": kind})
        params = self._valid(where, model, {k: v for k, v in values.items() if k not in common_keys})
        if params is not None:
            self._files_of(where, params)
        return common, params

    def _kind(self, where: Where, written: Any) -> str | None:
        """The type of a check; the one that is meant, and a problem, where none has this name."""
        if isinstance(written, str) and written in KINDS:
            return written
        if written is None:
            self._problem((*where, "type"), f"'type' is missing; there are {', '.join(KINDS)}")
            return None
        meant = kind_meant(str(written))
        hint = f" (did you mean {meant!r}?)" if meant else ""
        self._problem((*where, "type"), f"unknown type {shown(written)}{hint}; there are {', '.join(KINDS)}")
        return meant

    def _files_of(self, where: Where, params: Params) -> None:
        if isinstance(key_file := getattr(params, "key_file", None), str):
            self._secret((*where, "key_file"), Path(key_file))
        if self._elsewhere:
            return
        for field in ("ca_file", "cert_file"):
            if isinstance(name := getattr(params, field, None), str) and (why := unreadable_file(name)):
                self._report.lacks((*where, field), why)
        if isinstance(params, ExecParams) and (why := unusable_program(params.command[0])):
            self._report.lacks((*where, "command"), why)

    def _valid(self, where: Where, model: type[M], values: dict[str, Any]) -> M | None:
        try:
            return model.model_validate(values)
        except ValidationError as error:
            for detail in words.details(error):
                inside, text = words.said(detail, values)
                self._problem((*where, *inside), text)
            return None

    def _timed(self, where: Where, name: str, common: CheckModel, params: Params | None) -> core.Check:
        interval = common.interval
        timeout = min(1.0, interval) if common.timeout is None else common.timeout
        fast = max(INTERVAL_LEAST, interval / 10) if common.fast_interval is None else common.fast_interval
        if interval < INTERVAL_LEAST:
            self._problem((*where, "interval"), "an interval is at least 50ms")
        if timeout <= 0:
            self._problem((*where, "timeout"), "a timeout is longer than 0")
        elif timeout > interval:
            self._problem(
                (*where, "timeout"), f"the timeout, {timeout:g} s, is longer than the interval, {interval:g} s"
            )
        if not INTERVAL_LEAST <= fast <= max(interval, INTERVAL_LEAST):
            self._problem(
                (*where, "fast_interval"), "the fast interval is at least 50ms, and no longer than the interval"
            )
        fresh = max(2.0, 3 * (interval + timeout)) if common.fresh_for is None else common.fresh_for
        if fresh < interval + timeout:
            self._problem((*where, "fresh_for"), "shorter than one round: every verdict would be stale")
        doubt = max((common.fall - 1) * interval, timeout) if common.doubt_window is None else common.doubt_window
        return core.Check(
            name=name,
            kind=common.type,
            params=params,
            interval=interval,
            timeout=timeout,
            fast_interval=min(fast, interval),
            rise=common.rise,
            fall=common.fall,
            jitter=common.jitter,
            doubt_window=doubt,
            fresh_for=fresh,
            scope=core.Scope(common.scope),
        )

    # --- routes ---

    def _routes(
        self, where: Where, written: ServiceModel, neighbors: dict[str, core.Neighbor]
    ) -> dict[core.Tier, dict[core.RouteKey, core.Attributes]]:
        chosen = self._chosen(where, written, neighbors)
        full = written.attributes
        lower = written.tiers.degraded
        known = written.neighbors != () and all(name in neighbors for name in written.neighbors or ())
        sound = self._sound(("bgp",))
        if sound and chosen and full.prepend and not any(n.ebgp for n in chosen):
            text = "no neighbor of this service is eBGP, and an iBGP one takes our own AS for a loop: local_preference"
            self._problem((*where, "attributes", "prepend"), text)

        def of_full(field: str) -> Where:
            return (*where, "attributes", field)

        def of_degraded(field: str) -> Where:
            given = getattr(lower, field, None) is not None
            return (*where, "tiers", "degraded", field) if given else of_full(field)

        routes: dict[core.Tier, dict[core.RouteKey, core.Attributes]] = {core.Tier.FULL: {}, core.Tier.DEGRADED: {}}
        for i, prefix in enumerate(written.prefixes):
            family = core.family_of(prefix)
            carrying = [n for n in chosen if family in n.families]
            if sound and self._sound((*where, "neighbors")) and not carrying and known:
                self._problem((*where, "prefixes", i), f"no neighbor of this service carries {family}: see families")
            for n in carrying:
                key = core.RouteKey(n.name, prefix)
                routes[core.Tier.FULL][key] = self._attributes(of_full, full, n, prefix)
                degraded = _degraded(full, lower, n.ebgp)
                routes[core.Tier.DEGRADED][key] = self._attributes(of_degraded, degraded, n, prefix)
        return routes

    def _chosen(self, where: Where, written: ServiceModel, neighbors: dict[str, core.Neighbor]) -> list[core.Neighbor]:
        if written.neighbors is None:
            return list(neighbors.values())
        for i, name in enumerate(written.neighbors):
            if name not in neighbors and self._sound(("bgp",)):
                self._problem((*where, "neighbors", i), f"no neighbor {name!r}{did_you_mean(name, neighbors)}")
        return [neighbors[name] for name in dict.fromkeys(written.neighbors) if name in neighbors]

    def _attributes(
        self, place: Callable[[str], Where], a: AttributesModel, n: core.Neighbor, prefix: str
    ) -> core.Attributes:
        if a.local_preference is not None and n.ebgp and self._sound(("bgp",)):
            text = f"local_preference does not leave an AS: neighbor {n.name} is eBGP"
            self._problem(place("local_preference"), text)
        return core.Attributes(
            next_hop=self._next_hop(place("next_hop"), a, n, prefix),
            med=a.med,
            local_preference=a.local_preference,
            as_path=(n.local_as,) * (a.prepend + 1) if a.prepend and n.ebgp else (),
            communities=a.communities or (),
            large_communities=a.large_communities or (),
            extended_communities=a.extended_communities or (),
        )

    def _next_hop(self, where: Where, a: AttributesModel, n: core.Neighbor, prefix: str) -> str:
        family, session = core.family_of(prefix), core.family_of(n.address)
        given = a.next_hop or ()
        for hop in given:
            # A session over loopback is one on this very machine: a laboratory, or the demo.
            if ipaddress.ip_address(hop).is_loopback and not ipaddress.ip_address(n.address).is_loopback:
                self._problem(where, f"{hop} cannot be a next hop: routers cannot send to it")
        fits = [hop for hop in given if core.family_of(hop) is family]
        if fits:
            return fits[0]
        over_ipv6 = family is core.Family.IPV4 and n.extended_next_hop
        if given and over_ipv6:
            return given[0]
        if given:
            self._problem(where, f"no next hop for {prefix}: {', '.join(given)} is of the other family")
        if family is session:
            return "self"
        if over_ipv6 and n.local_address is not None:
            return n.local_address
        if not given and self._sound(where) and self._sound(("bgp",)):
            text = f"{prefix} on the {session} session with {n.name} needs next_hop: an {family} address of this node"
            self._problem(where, text)
        return "self"

    # --- the process ---

    def _process(self, agent: AgentModel, node: str) -> ProcessSettings:
        for field in ("control_socket", "run_dir", "state_dir"):
            path = getattr(agent, field)
            if not path.is_absolute():
                self._problem(("agent", field), f"{field} is an absolute path, beginning with /")
            elif len(os.fsencode(path)) > 80:
                self._problem(("agent", field), f"{field} is longer than a Unix socket's path may be: at most 80 bytes")
        host, port = self._listen(agent.api.listen)
        for i, name in enumerate(agent.api.allowed_hosts):
            self._checked(("agent", "api", "allowed_hosts", i), types.host_pattern, name)
        names = (node, *(name for name in agent.api.allowed_hosts if name != node))
        paths = (agent.control_socket, agent.run_dir, agent.state_dir)
        return ProcessSettings(host, port, names, *paths, agent.exec_slots)

    def _listen(self, written: str) -> tuple[str, int]:
        where: Where = ("agent", "api", "listen")
        try:
            host, port = types.listening(written)
        except ValueError as error:
            self._problem(where, str(error))
            return "127.0.0.1", 0
        if not ipaddress.ip_address(host).is_loopback:
            whom = "every address of the node" if ipaddress.ip_address(host).is_unspecified else host
            text = f"status, configuration and metrics can be read by whoever reaches {whom} on port {port}: filter it"
            self._report.warning(where, text)
        return host, port


def _of_one_node(root: RootModel) -> Iterator[tuple[Where, str | None, str]]:
    """The addresses that stand for one machine each, with their places."""
    yield ("bgp", "router_id"), root.bgp.router_id, "a router id"
    for name, n in root.bgp.neighbors.items():
        yield ("bgp", "neighbors", name, "address"), n.address, "the address of a neighbor"
        yield ("bgp", "neighbors", name, "local_address"), n.local_address, "the address of a session"
    for name, service in root.services.items():
        degraded = service.tiers.degraded
        for hop in service.attributes.next_hop or ():
            yield ("services", name, "attributes", "next_hop"), hop, "a next hop"
        for hop in (degraded.next_hop if degraded else None) or ():
            yield ("services", name, "tiers", "degraded", "next_hop"), hop, "a next hop"


def _for_prefix(check: core.Check, prefix: str) -> core.Check:
    return replace(check, prefix=prefix)


def _degraded(full: AttributesModel, degraded: AttributesModel | None, ebgp: bool) -> AttributesModel:
    """What is not given for degraded is as in full; nothing given: a longer path, which every router understands.

    An iBGP neighbor takes our own AS in the path for a loop (RFC 4271, 9.1.2) and drops the route: that would be a
    withdrawal. Towards it, a lower local preference stands for the longer path.
    """
    given = {} if degraded is None else {k: v for k, v in degraded.model_dump().items() if v is not None}
    if degraded is None:
        given["prepend"] = (full.prepend or 0) + 2
    if not ebgp and given.get("prepend") and "local_preference" not in given:
        preference = 100 if full.local_preference is None else full.local_preference
        given["local_preference"] = max(0, preference - 50)
    return full.model_copy(update=given)
