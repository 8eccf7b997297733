"""The words that the page and the command line share: one wording for one fact."""

from __future__ import annotations

from anycast_agent.api.shapes import Address, Blackhole, Consumers, LastResort, Neighbor, Route, YesNo
from anycast_agent.core.model import Reason


def sent(route: Route) -> str:
    """The UPDATE's state: an announcement that stands, a withdrawal, none, or unknown."""
    if route.on_wire is YesNo.NO:
        withdrawn = route.sent is YesNo.NO and route.session == "up" and route.withdrawal_sent_age is not None
        return "withdrawal sent" if withdrawn else "not sent"
    return route.on_wire.say("sent", "not sent", "sent")


def acknowledged(route: Route) -> str:
    """ExaBGP's answer: the speaker has the route, has it not, or it is unknown."""
    known = YesNo(route.acknowledged is not None) if route.acknowledged_known else YesNo.UNKNOWN
    return known.say("acknowledged", "not acknowledged", "acknowledged")


def facts(route: Route, sent_ago: str = "") -> list[str]:
    """Desired, acknowledged, sent, echoed: each by its own name, the session apart."""
    said = sent(route)
    found = ["desired" if route.desired is not None else "not desired", acknowledged(route)]
    found.append(said + sent_ago if said in ("sent", "withdrawal sent") else said)
    found += ["echoed"] * route.echoed + ["adopted"] * route.adopted
    return found + [f"waits for {route.waits_for}"] * bool(route.waits_for)


def address(a: Address) -> str:
    if a.there:
        text = f"on {a.interface}, {'ours' if a.ours else 'not ours'}"
    else:
        text = "not on the node" if a.known else "unknown"
    return text + (f"; {a.error}" if a.error else "")


def consumers(c: Consumers) -> str:
    """Empty where nothing is configured for them."""
    said = {
        "off": "",
        "home": "this node's own packets stay here",
        "aside": f"this node's own packets go to {', '.join(c.routers)}",
        "returning": "new connections of this node stay here; those that began elsewhere go on",
        "broken": "the policy rules for this node's own packets are incomplete (ip rule); they are being repaired",
        "unknown": "it is unknown where this node's own packets go",
    }.get(c.state, c.state)
    return said + (f"; {c.error}" if c.error else "")


def place(n: Neighbor) -> str:
    """Where the neighbor is, as people write it: an address, and its interface where it has one (RFC 4007, 11.2)."""
    if n.address is None:
        return f"on {n.interface}"
    return f"{n.address}%{n.interface}" if n.interface else n.address


def session_why(n: Neighbor) -> str:
    return n.why or ("" if n.session == "up" else "the speaker has given no reason yet")


def advice(prefix: str, service: str, cover: str) -> tuple[str, ...]:
    """For whoever is on call while routers have only the last resort of a prefix from this node."""
    return (
        f"this node still announces {cover}: users come here only while no node announces {prefix}",
        f"type on the other nodes: anycast-agent why {prefix}; if one says announced, its users are served there",
        f"if none does, users get whatever {service} answers here: mend {service}, or its checks if {service} is well",
        f"if a wrong answer is worse than none: set enabled: false for {service} here; anycast-agent reload --force",
    )


def blackhole(b: Blackhole) -> str:
    whose = "" if b.there is not YesNo.YES else ", by a route of ours" if b.ours else ", by a route that is not ours"
    return "the rest of it is " + b.there.say(f"discarded here{whose}", "not discarded here", "discarding it")


def last_resort(c: LastResort) -> str:
    """How it stands, and why if it is not as it should be."""
    well = c.reason == Reason.LAST_RESORT
    return f"{c.headline}; " + (blackhole(c.blackhole) if well else f"{c.rung}. {c.rung_title}: {c.evidence}")
