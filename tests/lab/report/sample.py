"""A topology and results that look like the lab's, made up: the pictures' tests need no lab."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from pathlib import Path

from lab.drills.result import BUCKET, Expectation, Figures, Mark, Result, Stream, Window
from lab.net.topology import End, Link, Node, Topology


def topology(nodes: Mapping[str, Mapping[str, str]], links: Iterable[tuple[str, str]]) -> Topology:
    """Nodes with their labels; interfaces are numbered in the order of the links."""
    used = dict.fromkeys(nodes, 0)

    def end(name: str) -> End:
        used[name] += 1
        return End(name, f"eth{used[name]}")

    made = {name: Node(name, "linux", "", "", "", (), (), {}, {}, labels) for name, labels in nodes.items()}
    return Topology("sample", Path("sample.yml"), made, tuple(Link(end(a), end(b)) for a, b in links))


def datacenters() -> Topology:
    """Two sites, dual-homed edges, a private backbone."""
    nodes: dict[str, dict[str, str]] = {
        "client1": {"graph-level": "1"}, "client2": {"graph-level": "1"},
        "isp1": {"graph-level": "2", "graph-note": "AS 64496"}, "isp2": {"graph-level": "2", "graph-note": "AS 64497"},
    }  # fmt: skip
    links = [("client1", "isp1"), ("client2", "isp2"), ("isp1", "isp2"), ("isp1", "ams-border"), ("isp2", "fra-border")]
    links += [("ams-border", "fra-border")]
    for number, at in enumerate(("ams", "fra")):
        nodes[f"{at}-border"] = {"graph-level": "3", "graph-note": f"AS {64510 + number}", "site": at}
        for n in (1, 2):
            nodes[f"{at}-leaf{n}"] = {"graph-level": "4", "graph-note": f"AS {65010 + 10 * number + n}", "site": at}
            links.append((f"{at}-border", f"{at}-leaf{n}"))
        for n in (1, 2):
            nodes[f"{at}-edge{n}"] = {"graph-level": "5", "graph-note": "AS 65100", "site": at}
            links += [(f"{at}-edge{n}", f"{at}-leaf1"), (f"{at}-edge{n}", f"{at}-leaf2")]
    return topology(nodes, links)


EDGES = ("ams-edge1", "ams-edge2", "fra-edge1", "fra-edge2")
Cut = tuple[float, float, float]
"""From, to, and the share of the requests that were lost in it."""


def stream(client: str, protocol: str, family: str, cuts: Iterable[Cut], duration: float, rate: int = 250) -> Stream:
    """The near site answers, but for requests that are lost; after the first cut, the far site does."""
    chance = random.Random(f"{client}{protocol}{family}")
    own, far = (EDGES[:2], EDGES[2:]) if client.endswith("1") else (EDGES[2:], EDGES[:2])
    cuts = list(cuts)
    number = -(-int(duration * 1000) // int(BUCKET * 1000))
    series: dict[str, list[int]] = {name: [0] * number for name in (*own, *far, "lost")}
    for sent in range(int(duration * rate)):
        at = sent / rate
        lost = any(begin <= at < end and chance.random() < share for begin, end, share in cuts)
        near = chance.choice(far if cuts and at >= cuts[0][1] else own)
        series["lost" if lost else near][min(int(at / BUCKET + 1e-9), number - 1)] += 1
    answered = {name: sum(values) for name, values in series.items() if name != "lost" and any(values)}
    windows = tuple(Window(b, e, int((e - b) * rate * s), int((e - b) * rate)) for b, e, s in cuts)
    return Stream(
        client, protocol, family, int(duration * rate), answered, sum(series["lost"]), windows, series, 0.0007, 0.0042
    )


def result(
    drill: str, cuts: Mapping[str, Iterable[Cut]], marks: Iterable[Mark], figures: Figures, **more: object
) -> Result:
    """A drill with two clients, both protocols and both families; ``cuts`` are by client."""
    duration = float(str(more.pop("duration", 20.02)))
    streams = tuple(
        stream(client, protocol, family, cuts.get(client, ()), duration)
        for client in ("client1", "client2")
        for protocol in ("dns", "http")
        for family in ("IPv4", "IPv6")
    )
    fields: dict[str, object] = {
        "title": drill.replace("-", " ").capitalize(),
        "about": "The client's nearest site loses what the drill's name says, while it is asked without a pause.",
        "variant": "bfd",
        "started": "2025-11-20T14:03:22+00:00",
        "expectations": (Expectation("no stream loses for more than 0.5 s", True, "116 ms"),),
    }
    fields.update(more)
    return Result(
        drill, duration=duration, marks=tuple(marks), streams=streams, figures=figures, **fields  # type: ignore[arg-type]
    )  # fmt: skip


def short() -> Result:
    """A site withdraws: 60 ms of loss in 20 s."""
    marks = (
        Mark(5.0, "fault", "both nodes of ams are drained"),
        Mark(5.012, "detected", "ams-edge1's agent: draining"),
        Mark(5.031, "withdrawn", "ams-leaf1 lost 192.0.2.53/32 from ams-edge1"),
        Mark(5.034, "withdrawn", "ams-leaf2 lost 192.0.2.53/32 from ams-edge1"),
        Mark(5.121, "table", "ams-border: 192.0.2.53/32 by fra-border"),
        Mark(12.0, "recovery", "both nodes of ams serve again"),
        Mark(12.41, "announced", "ams-leaf1 has 192.0.2.53/32 from ams-edge1"),
        Mark(12.62, "table", "ams-border: 192.0.2.53/32 by ams-leaf1, ams-leaf2"),
    )
    figures = Figures(0.012, 0.031, 0.121, 0.067, 0.117, 0)
    return result("site-withdrawn", {"client1": [(5.05, 5.117, 1.0)]}, marks, figures)


def long() -> Result:
    """A node freezes with its link up: half is lost for seconds; it failed."""
    marks = (
        Mark(5.0, "fault", "ams-edge1 freezes"), Mark(13.2, "detected", "ams-leaf1: hold timer expired"),
        Mark(13.25, "withdrawn", "ams-leaf1 lost 192.0.2.53/32"), Mark(13.4, "table", "ams-border: one path left"),
        Mark(22.0, "recovery", "ams-edge1 runs again"),
    )  # fmt: skip
    expected = (
        Expectation("no stream loses for more than 0.5 s", False, "8.44 s (client1, dns, IPv4)"),
        Expectation("client2 loses nothing", True, "0 of 30,000"),
    )
    return result("node-frozen", {"client1": [(5.0, 13.44, 0.5)]}, marks, Figures(8.2, 8.25, 8.4, 8.44, 8.44, 0),
                  duration=30.0, variant="hold", expectations=expected)  # fmt: skip


def flapping(flaps: int = 100) -> Result:
    marks = [Mark(3 + n * 0.2, "fault" if n % 2 == 0 else "recovery", f"link down and up, {n}") for n in range(flaps)]
    marks += [Mark(3.05 + n * 0.2, "withdrawn" if n % 2 == 0 else "announced", f"change {n}") for n in range(flaps)]
    cuts = [(3.0 + n * 0.4, 3.06 + n * 0.4, 0.4) for n in range(flaps // 2)]
    return result("link-flaps", {"client1": cuts, "client2": cuts[:3]}, marks, Figures(0.05, 0.05, 0.2, 0.06, 19.7, flaps),
                  duration=3 + flaps * 0.2 + 5)  # fmt: skip


def quiet() -> Result:
    marks = (Mark(5.0, "fault", "kill -9 of ExaBGP"), Mark(5.21, "detected", "the unit: restarted"))
    return result("speaker-killed", {}, marks, Figures(0.21))


def stopped() -> Result:
    return Result("border-lost", "A border loses power", "The whole site is cut off.", "bfd", "2025-11-20T14:09:00+00:00",
                  0.0, (), (), Figures(), (), "fra-leaf1 had no route to 192.0.2.53/32 after 30 s")  # fmt: skip


def samples() -> list[Result]:
    return [short(), quiet(), long(), flapping(), stopped()]


ABOUT = {"when": "2025-11-20 14:03 UTC", "kernel": "6.1.0-28-amd64, 2 cores", "FRR": "8.4.4", "ExaBGP": "5.0.15"}
