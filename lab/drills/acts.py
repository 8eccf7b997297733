"""The verbs of a drill, one function each."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.drills import drill
from lab.net import links
from lab.net.lab import Lab, LabError
from lab.net.topology import Link


def do(lab: Lab, act: drill.Act) -> str:
    """Carry out the act. Returns what was done, in words. Raises LabError, NodeError."""
    return VERBS[act.verb](lab, act.what)


def _names(lab: Lab, which: drill.Selection) -> list[str]:
    return which.of(lab.topology)


def _say(names: list[str]) -> str:
    return ", ".join(names)


def power_off(lab: Lab, what: drill.PowerOff) -> str:
    names = _names(lab, what)
    lab.power_off(names, links_up=what.links == "up")
    return f"{_say(names)}: power off{'' if what.links == 'up' else ', links down'}"


def power_on(lab: Lab, what: drill.Selection) -> str:
    names = _names(lab, what)
    lab.power_on(names)
    return f"{_say(names)}: power on"


def freeze(lab: Lab, what: drill.MaybeProcess) -> str:
    return _halt(lab, what, True)


def thaw(lab: Lab, what: drill.MaybeProcess) -> str:
    return _halt(lab, what, False)


def _halt(lab: Lab, what: drill.MaybeProcess, frozen: bool) -> str:
    names = _names(lab, what)
    if what.process:
        _signal(lab, names, what.process, signal.SIGSTOP if frozen else signal.SIGCONT)
    for name in names if not what.process else ():
        lab.nodes[name].freeze(frozen)
    return f"{_say(names)}: {what.process or 'the node'} {'freezes' if frozen else 'thaws'}"


def kill(lab: Lab, what: drill.Kill) -> str:
    names = _names(lab, what)
    _signal(lab, names, what.process, signal.Signals[f"SIG{what.signal}"])
    return f"{_say(names)}: {what.process} gets SIG{what.signal}"


def stop(lab: Lab, what: drill.Stop) -> str:
    names = _names(lab, what)
    for name in names:
        _off(lab, name, what.process).touch()
    _signal(lab, names, drill.KEPT[what.process], signal.Signals[f"SIG{what.signal}"])
    return f"{_say(names)}: {what.process} is {'killed' if what.signal == 'KILL' else 'stopped'}"


def start(lab: Lab, what: drill.Start) -> str:
    names = _names(lab, what)
    for name in names:
        _off(lab, name, what.process).unlink(missing_ok=True)
    return f"{_say(names)}: {what.process} starts"


def _off(lab: Lab, name: str, process: str) -> Path:
    """A file that holds a process back: while it is there, the edge's start-up does not start that process."""
    folder = lab.nodes[name].path("/run/lab")
    if not folder.is_dir():
        raise LabError(f"{name} keeps no {process} running: only an edge does")
    return folder / f"{process}.off"


def cut(lab: Lab, what: drill.LinkOnly) -> str:
    return _links(lab, what, lambda link: links.cut(link, lab.nodes), "cut")


def mend(lab: Lab, what: drill.LinkOnly) -> str:
    return _links(lab, what, lambda link: links.mend(link, lab.nodes), "mended")


def lossy(lab: Lab, what: drill.Lossy) -> str:
    return _links(
        lab,
        what,
        lambda link: _lose(lab, link, what.percent, what.family),
        f"loses {what.percent} %{what.family and ' of '}{what.family}",
    )


def clean(lab: Lab, what: drill.LinkOnly) -> str:
    return _links(lab, what, lambda link: _lose(lab, link, 0), "loses nothing again")


def _lose(lab: Lab, link: Link, percent: int, family: str = "") -> None:
    for end in link.ends:
        links.lose(end, lab.nodes[end.node], percent, family)


def _links(lab: Lab, what: drill.LinkOnly, do_one: Callable[[Link], None], verb: str) -> str:
    for one, other in what.links:
        do_one(lab.link(one, other))
    return f"{', '.join('–'.join(pair) for pair in what.links)}: {verb}"


def run(lab: Lab, what: drill.Run) -> str:
    names = _names(lab, what)
    for name in names:
        lab.nodes[name].run(what.command)
    return f"{_say(names)}: {' '.join(what.command)}"


def _signal(lab: Lab, names: list[str], process: str, number: int) -> None:
    for name in names:
        found = lab.nodes[name].processes(process)
        if not found:
            raise LabError(f"{name}: no process {process!r} runs there")
        for pid in found:
            try:
                os.kill(pid, number)
                lab.nodes[name].note("kill", f"-{signal.Signals(number).name}", str(pid), output=process)
            except ProcessLookupError:
                pass  # it went between


VERBS: dict[str, Callable[[Lab, Any], str]] = {
    f.__name__: f
    for f in (power_off, power_on, freeze, thaw, kill, stop, start, cut, mend, lossy, clean, run)
}  # fmt: skip
