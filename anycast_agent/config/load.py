"""From files to the core's configuration: read, merge, validate, translate. Every problem is found before it ends."""

from __future__ import annotations

import copy
import hashlib
import ipaddress
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from anycast_agent.checks.base import Params
from anycast_agent.checks.registry import KINDS, has_own_target
from anycast_agent.config import types
from anycast_agent.config.models import (
    AgentModel,
    ApiModel,
    AtLeast,
    AttributesModel,
    BgpModel,
    CheckModel,
    HoldDownModel,
    NeighborModel,
    NodeModel,
    RootModel,
    ServiceModel,
    TiersModel,
)
from anycast_agent.config.problems import ConfigError, Problem, did_you_mean
from anycast_agent.config.source import FILES_MOST, Places, Where, parse, read
from anycast_agent.core import model as core

PREFIXES_MOST = 10_000
INTERVAL_LEAST = 0.05
PRUNED_MOST = 8
"""How often what is wrong is cut out, so that the rest can be looked at as well."""
_DIGEST_KEY = secrets.token_bytes(32)
_GONE = object()
_SHAPES: dict[tuple[str, ...], type[BaseModel]] = {
    (): RootModel,
    ("node",): NodeModel,
    ("agent",): AgentModel,
    ("agent", "api"): ApiModel,
    ("bgp",): BgpModel,
    ("bgp", "neighbors", "*"): NeighborModel,
    ("services", "*"): ServiceModel,
    ("services", "*", "attributes"): AttributesModel,
    ("services", "*", "tiers"): TiersModel,
    ("services", "*", "tiers", "degraded"): AttributesModel,
    ("services", "*", "hold_down"): HoldDownModel,
}


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """What a process is started with and a reload does not change."""

    api_host: str
    api_port: int
    allowed_hosts: tuple[str, ...]
    control_socket: Path
    run_dir: Path
    state_dir: Path


@dataclass(frozen=True, slots=True)
class Loaded:
    config: core.Config
    process: ProcessSettings
    files: tuple[Path, ...]
    texts: Mapping[Path, str]
    """What stood in each of the files."""


def load(path: Path) -> Loaded:
    """Read a configuration and its conf.d. Blocks for file reads; raises ConfigError with every problem."""
    texts: dict[Path, str] = {}

    def text(file: Path) -> str:
        return texts.setdefault(file, read(file))

    return replace(_understood((path, *_drop_ins(path)), text), texts=texts)


def load_texts(texts: Mapping[Path, str]) -> Loaded:
    """The same from what stood in the files, the first one first: whatever stands in them by now."""
    return replace(_understood(tuple(texts), texts.__getitem__), texts=texts)


def _understood(files: tuple[Path, ...], text: Callable[[Path], str]) -> Loaded:
    merged, places = _merge(files, text)
    return _Translation(merged, places, str(files[0]), files).whole()


def _drop_ins(path: Path) -> list[Path]:
    folder = path.parent / "conf.d"
    try:
        visible = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError([Problem(str(folder), 1, 1, f"cannot be read: {error.strerror or error}")]) from None
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
            merged, places = _with_empty_sections(value), where
        else:
            problems += _add(merged, places, value, where)
    if problems:
        raise ConfigError(problems)
    return merged, places


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

    def __init__(self, values: dict[str, Any], places: Places, file: str, files: tuple[Path, ...]) -> None:
        self._values = values
        self._places = places
        self._file = file
        self._files = files
        self._problems: list[Problem] = []
        self._cut: set[Where] = set()
        """What was cut out because it is wrong: what follows from its absence is not worth saying."""

    def _problem(self, where: Where, message: str) -> None:
        """At the place, or the nearest one above it that stands in a file."""
        for length in range(len(where), -1, -1):
            if (place := self._places.get(where[:length])) is not None:
                self._problems.append(Problem(*place, message))
                return
        self._problems.append(Problem(self._file, 1, 1, message))

    def _checked(self, where: Where, check: Callable[[Any], Any], value: Any) -> None:
        try:
            check(value)
        except ValueError as error:
            self._problem(where, str(error))

    # --- the whole ---

    def whole(self) -> Loaded:
        root = self._root()
        neighbors = self._neighbors(root.bgp) if root else {}
        services = self._services(root, neighbors) if root else {}
        process = self._process(root.agent) if root else None
        if self._problems or root is None or process is None:
            raise ConfigError(self._problems)
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
        return Loaded(config, process, self._files, {})

    def _root(self) -> RootModel | None:
        root = self._shaped()
        if root is None:
            return None
        self._checked(("node", "name"), types.name, root.node.name)
        if root.node.site:
            self._checked(("node", "site"), types.name, root.node.site)
        if not 0.5 <= root.agent.dead_man <= 600:
            self._problem(("agent", "dead_man"), "dead_man is 500ms to 10m")
        return root

    def _sound(self, where: Where) -> bool:
        """Whether nothing was cut out there, above or below."""
        return not any(cut[: len(where)] == where[: len(cut)] for cut in self._cut)

    def _shaped(self) -> RootModel | None:
        """The whole, if need be without what is wrong in it: the rest then shows its problems as well."""
        values: Any = self._values
        for _ in range(PRUNED_MOST):
            try:
                return RootModel.model_validate(values)
            except ValidationError as error:
                details = _telling(error)
                if values is self._values:
                    for detail in details:
                        self._problem(tuple(detail["loc"]), self._say(detail, _SHAPES))
                    self._check_shapes_below()
                self._cut |= {tuple(detail["loc"]) for detail in details}
                values = _without(values, [tuple(detail["loc"]) for detail in details])
                if values is None:
                    return None
        return None

    def _check_shapes_below(self) -> None:
        """The checks' own parameters are read apart: their problems belong on the same list."""
        services = self._values.get("services")
        for name, service in services.items() if isinstance(services, dict) else ():
            checks = service.get("checks") if isinstance(service, dict) else None
            for check, values in checks.items() if isinstance(checks, dict) else ():
                if isinstance(values, dict):
                    self._check(("services", name, "checks", check), values)

    def _say(self, detail: ErrorDetails, shapes: dict[tuple[str, ...], type[BaseModel]]) -> str:
        where, kind = detail["loc"], detail["type"]
        if len(where) > 2 and where[0] == "services" and where[2] == "require":
            return "require: write all, any, or {at_least: n}"  # one sentence for all that a union has to say
        last = str(where[-1]) if where else ""
        if kind == "extra_forbidden":
            pattern = tuple("*" if i in (1, 2) and _named(where, i) else str(w) for i, w in enumerate(where[:-1]))
            shape = shapes.get(pattern)
            return f"unknown key {last!r}" + did_you_mean(last, shape.model_fields if shape else ())
        if kind == "missing":
            return f"{last!r} is missing"
        message = detail["msg"].removeprefix("Value error, ")
        return f"{last}: {message[0].lower() + message[1:]}" if kind != "value_error" else message

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
        if written.hold_time in (1, 2):
            self._problem((*where, "hold_time"), "a hold time is 0 or at least 3 (RFC 4271, 4.2)")
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
        return services

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
        kind = values.get("type")
        params_model = KINDS.get(str(kind))
        if params_model is None:
            text = f"unknown type {kind!r}" + did_you_mean(str(kind), KINDS) if kind else "'type' is missing"
            self._problem((*where, "type"), f"{text}; there are {', '.join(KINDS)}")
            return None, None
        common_keys = set(CheckModel.model_fields)
        common = self._valid(where, CheckModel, {k: v for k, v in values.items() if k in common_keys}, common_keys)
        own = {k: v for k, v in values.items() if k not in common_keys}
        known = {f.alias or name for name, f in params_model.model_fields.items()} | common_keys
        params = self._valid(where, params_model, own, known)
        if isinstance(params, Params) and isinstance(key_file := getattr(params, "key_file", None), str):
            self._secret((*where, "key_file"), Path(key_file))
        return common if isinstance(common, CheckModel) else None, params if isinstance(params, Params) else None

    def _valid(
        self, where: Where, model: type[BaseModel], values: dict[str, Any], known: Iterable[str]
    ) -> BaseModel | None:
        try:
            return model.model_validate(values)
        except ValidationError as error:
            for detail in _telling(error):
                text = self._say(detail, {})
                if detail["type"] == "extra_forbidden":
                    text += did_you_mean(str(detail["loc"][-1]), known)
                elif detail["type"] == "tuple_type" and detail["loc"] == ("command",):
                    text = "command is a list, [program, argument, …]: it is never given to a shell"
                self._problem((*where, *detail["loc"]), text)
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
            if sound and self._sound((*where, "neighbors")) and not carrying and written.neighbors != ():
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

    def _process(self, agent: AgentModel) -> ProcessSettings:
        for field in ("control_socket", "run_dir", "state_dir"):
            path = getattr(agent, field)
            if not path.is_absolute():
                self._problem(("agent", field), f"{field} is an absolute path, beginning with /")
            elif len(os.fsencode(path)) > 80:
                self._problem(("agent", field), f"{field} is longer than a Unix socket's path may be: at most 80 bytes")
        host, _, port = agent.api.listen.rpartition(":")
        host = host.strip("[]")
        try:
            types.address(host)
            number = int(port)
            if not 0 <= number <= 65535:
                raise ValueError
        except ValueError:
            self._problem(("agent", "api", "listen"), "write an address and a port, like 127.0.0.1:9179 or [::1]:9179")
            number = 0
        return ProcessSettings(
            host, number, agent.api.allowed_hosts, agent.control_socket, agent.run_dir, agent.state_dir
        )


def _telling(error: ValidationError) -> list[ErrorDetails]:
    """Its details, without ``too short`` for a list that is so because an item of it is wrong."""
    details = error.errors()
    places = [d["loc"] for d in details]
    return [
        d
        for d in details
        if d["type"] != "too_short" or not any(p != d["loc"] and p[: len(d["loc"])] == d["loc"] for p in places)
    ]


def _named(where: tuple[int | str, ...], i: int) -> bool:
    """Whether the word at ``i`` is a name that the user chose."""
    return (where[0] == "services" and i == 1) or (where[:2] == ("bgp", "neighbors") and i == 2)


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


def _without(values: Any, places: Iterable[Where]) -> Any:
    """A copy of the values without what stands at the places, or without what lacks it; None where that is all."""
    values = copy.deepcopy(values)
    for place in places:
        parent: Any = None
        last: str | int = ""
        node = values
        for word in place:
            inside = (isinstance(node, dict) and word in node) or (
                isinstance(node, list) and isinstance(word, int) and word < len(node)
            )
            if not inside:
                break
            parent, last, node = node, word, node[word]
        if parent is None:
            return None
        parent[last] = _GONE
    return _swept(values)


def _swept(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _swept(v) for k, v in value.items() if v is not _GONE}
    return [_swept(v) for v in value if v is not _GONE] if isinstance(value, list) else value
