"""The metrics by the letter of the text format, as ``promtool check metrics`` reads them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from anycast_agent.core.snapshot import Snapshot
from anycast_agent.metrics import Metrics, labels, number
from tests.api.surfaces import picture, well
from tests.support import ends
from tests.support.world import LEAF1, World, config, service

_SAMPLE = re.compile(r"([a-z_]+)(?:\{([^}]*)\})? (NaN|[+-]Inf|-?[0-9.e+-]+)")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')


def samples(text: str) -> Iterator[tuple[str, str, str]]:
    """(family, series, value), in order; fails where a line is none of the format's."""
    family, kind = "", ""
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split()[2]
            assert len(line.split(maxsplit=3)) == 4, f"no help: {line}"
        elif line.startswith("# TYPE "):
            assert line.split()[2] == family, f"the type of something else than {family}"
            kind = line.split()[3]
            assert kind in ("gauge", "counter", "summary")
        else:
            found = _SAMPLE.fullmatch(line)
            assert found is not None, line
            suffixes = ("_count", "_sum") if kind == "summary" else ("",)
            assert found[1] in [family + suffix for suffix in suffixes], f"{line} is not in the group of {family}"
            assert (kind == "counter") == family.endswith("_total"), f"{family} is a {kind}"
            assert "".join(m[0] for m in _LABEL.finditer(found[2] or "")) == (found[2] or ""), f"labels: {line}"
            yield family, f"{found[1]}{{{found[2]}}}", found[3]


@pytest.mark.parametrize("story", ["well", "starting", "down", "alone"])
def test_every_line_is_of_the_text_format(story: str) -> None:
    """HELP and TYPE before the samples, each family once and in one piece, no series twice."""
    world = World() if story == "starting" else well()
    if story == "starting":
        world.start(config())
    elif story == "down":
        world.outcomes["dns"] = ends.REFUSED
        world.run(5.0)
    elif story == "alone":
        world.lose_pipe()
    text = Metrics(lambda: picture(world)).text()
    found = list(samples(text))
    families = [family for family, _, _ in found]
    assert len(dict.fromkeys(families)) == 1 + sum(a != b for a, b in itertools.pairwise(families))
    assert len({series for _, series, _ in found}) == len(found)
    heads = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert len(heads) == len(set(heads))


def test_a_text_in_a_label_is_escaped() -> None:
    """A site named by a person: what it holds ends no label and no line."""
    evil = 'a"b\\c\nd'
    shown = replace(picture(well()), site=evil)
    text = Metrics(lambda: shown).text()
    list(samples(text))
    (info,) = [f for f in text_string_to_metric_families(text) if f.name == "anycast_agent_info"]
    assert info.samples[0].labels["site"] == evil
    assert labels(a=evil) == 'a="a\\"b\\\\c\\nd"'


def test_numbers_are_written_as_go_reads_them() -> None:
    """Unknown and not-a-number are NaN; truth is 1 and 0."""
    given: list[float | None] = [None, float("nan"), float("inf"), float("-inf"), True, False, 3, 0.5, 1e-07]
    assert [number(n) for n in given] == ["NaN", "NaN", "+Inf", "-Inf", "1", "0", "3", "0.5", "1e-07"]


def test_what_is_kept_of_a_service_is_what_would_be_written_anew() -> None:
    """After each of many changes, the text with kept lines is the text of a new writer; what is gone is gone."""
    world = World()
    world.start(config(service("dns"), service("www", ("192.0.2.80/32",))))
    kept = Metrics(lambda: picture(world))

    def same() -> str:
        shown: Snapshot = picture(world)
        anew = Metrics(lambda: shown)
        return _stable(kept.text()) if _stable(kept.text()) == _stable(anew.text()) else "different"

    for step in range(6):
        world.run(0.9)
        assert same() != "different", step
    world.outcomes["www"] = ends.REFUSED
    world.run(4.0)
    assert 'prefix="192.0.2.80/32"} 0' in same()
    world.set_session(LEAF1, up=False)
    assert same() != "different"
    world.offer(config(service("dns")), force=True)
    world.run(4.0)
    assert 'service="www"' not in same()


def _stable(text: str) -> str:
    """Without what the process itself and the wall clock change."""
    return "\n".join(line for line in text.splitlines() if not re.match(r"(# \w+ )?process_|.*_timestamp_", line))


def test_only_what_changed_is_written_anew() -> None:
    """The lines of a service whose snapshot is the same are the very same text."""
    world = World()
    world.start(config(service("dns"), service("www", ("192.0.2.80/32",))))
    world.run(3.0)
    metrics = Metrics(lambda: picture(world))
    metrics.text()
    before: dict[str, Any] = dict(metrics._blocks)
    world.hangs.add("dns")
    world.run(1.1)
    metrics.text()
    world.run(1.1)
    after = dict(metrics._blocks)
    metrics.text()
    assert metrics._blocks["dns"] is after["dns"]
    assert metrics._blocks["www"] is not before["www"]
