"""The picture of a topology: all of it is drawn, nothing covers anything, and it needs nothing else."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import combinations
from pathlib import Path

import pytest

from lab.net.topology import Topology, load
from lab.report import graph
from lab.report.layout import Rect, arrange
from lab.report.wires import names, wires
from tests.lab.report.sample import datacenters, topology

SVG = "{http://www.w3.org/2000/svg}"
MANY = [f"n{number}" for number in range(40)]
SHAPES = {
    "datacenters": datacenters(),
    "one node": topology({"alone": {}}, []),
    "no labels": topology({"a": {}, "b": {}, "c": {}}, [("a", "b"), ("b", "c"), ("c", "a")]),
    "two links between the same nodes": topology({"a": {}, "b": {}}, [("a", "b"), ("a", "b")]),
    "two in a row": topology({n: {"graph-level": "1"} for n in "abc"}, [("a", "b"), ("a", "b"), ("a", "c")]),
    "a node linked to itself": topology({"a": {}}, [("a", "a")]),
    "levels that are none": topology({"a": {"graph-level": "nan"}, "b": {"graph-level": "x"}}, [("a", "b")]),
    "apart": topology({"a": {"graph-level": "7"}, "b": {}, "c": {}}, [("b", "c")]),
    "forty in a row": topology({n: {"graph-level": "1"} for n in MANY}, [(a, "n0") for a in MANY[1:]]),
    "forty in a tree": topology({n: {} for n in MANY}, [(MANY[i // 3], MANY[i]) for i in range(1, 40)]),
    "three sites and what has none": topology(
        {f"{s}{n}": {"site": s, "graph-level": str(2 + n % 2)} for s in "xyz" for n in range(9)}
        | {"top": {"graph-level": "1"}, "aside": {"graph-level": "2"}, "low": {}},
        [("top", "x0"), ("top", "z0"), ("aside", "y1"), ("x1", "low"), ("x0", "z0")],
    ),
}
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def texts(picture: str, kind: str) -> list[str]:
    return [e.text or "" for e in ET.fromstring(picture).iter(f"{SVG}text") if e.get("class", "").split()[0] == kind]


def drawn(shape: Topology) -> tuple[dict[str, Rect], list[Rect]]:
    """Its boxes, and the places of the names of interfaces."""
    layout = arrange(shape, 110, 54)
    return dict(layout.boxes), [name.place for name in names(wires(shape, layout.boxes), layout.boxes)]


@every_shape
def test_every_node_and_every_link_is_drawn(shape: Topology) -> None:
    """Well-formed, each node once by its name, each link once with both of its ends."""
    picture = graph.svg(shape)
    assert sorted(texts(picture, "name")) == sorted(shape.nodes)
    links = [e for e in ET.fromstring(picture).iter(f"{SVG}path") if e.get("class") == "wire"]
    assert len(links) == len(shape.links)
    for link, path in zip(shape.links, links, strict=True):
        said = path.findtext(f"{SVG}title") or ""
        assert all(f"{end.node}:{end.interface}" in said for end in link.ends)
    assert len({path.get("d") for path in links}) == len(links)


@every_shape
def test_boxes_and_names_cover_nothing(shape: Topology) -> None:
    """No two boxes touch, and no interface's name touches a box or another name."""
    boxes, places = drawn(shape)
    assert not [pair for pair in combinations([*boxes.values(), *places], 2) if pair[0].touches(pair[1])]


@every_shape
def test_a_site_holds_its_nodes_and_no_other(shape: Topology) -> None:
    """Regions do not touch each other, and a node is in the region of its own site only."""
    layout = arrange(shape, 110, 54)
    assert not [pair for pair in combinations(layout.regions.values(), 2) if pair[0].touches(pair[1])]
    for name, box in layout.boxes.items():
        inside = [site for site, region in layout.regions.items() if region.touches(box)]
        assert inside == [site for site in [shape.nodes[name].labels.get("site")] if site]
    for rect in [*layout.boxes.values(), *layout.regions.values()]:
        assert rect.x >= 0
        assert rect.y >= 0
        assert rect.x + rect.w <= layout.width
        assert rect.y + rect.h <= layout.height


def test_rows_follow_the_levels_and_columns_the_sites() -> None:
    """Clients on top, edges at the bottom; the first site left; what leads to a site stands over it."""
    shape = datacenters()
    boxes, places = drawn(shape)
    for row in (("client1", "client2"), ("isp1", "isp2"), ("ams-border", "fra-border"), ("ams-edge1", "fra-edge2")):
        assert boxes[row[0]].y == boxes[row[1]].y
        assert boxes[row[0]].x < boxes[row[1]].x
    heights = [boxes[name].y for name in ("client1", "isp1", "ams-border", "ams-leaf1", "ams-edge1")]
    assert heights == sorted(set(heights))
    assert boxes["client1"].middle == boxes["isp1"].middle == boxes["ams-border"].middle
    assert boxes["ams-leaf2"].x < boxes["fra-leaf1"].x
    assert len(places) == 2 * len(shape.links)
    assert arrange(shape, 110, 54).width <= 900


def test_the_labs_own_file_is_drawn_with_every_interface() -> None:
    """All names fit, at the width of a page."""
    own = load(Path(__file__).parents[3] / "containerlab" / "anycast.clab.yml", {})
    assert len(texts(graph.svg(own), "port")) == 2 * len(own.links)
    assert arrange(own, 110, 54).width <= 900


def test_forty_in_a_row_still_fit_a_page() -> None:
    """A row too wide to be read is broken."""
    assert arrange(SHAPES["forty in a row"], 110, 54).width <= 1200


def test_a_link_bends_around_a_node_between() -> None:
    """A link over a row does not run through the box that stands there."""
    shape = topology({"a": {}, "b": {}, "c": {"graph-level": "3"}}, [("a", "b"), ("b", "c"), ("a", "c")])
    layout = arrange(shape, 110, 54)
    over = wires(shape, layout.boxes)[2]
    for step in range(101):
        x, y = over.at(step / 100)
        assert not Rect(x, y, 0.1, 0.1).touches(layout.boxes["b"])


def test_notes_and_states_are_told_in_words() -> None:
    """A note stands below the name; a state that is not well is written out and marked by more than color."""
    well = graph.svg(datacenters(), {"isp1": "up"})
    assert "AS 64510" in texts(well, "note")
    assert texts(well, "state") == []
    ill = graph.svg(datacenters(), {"ams-edge1": "frozen"})
    assert texts(ill, "state") == ["✕ frozen"]
    assert ill.count('class="node away"') == 1


def test_hostile_labels_are_only_text() -> None:
    """Markup and characters that XML forbids do no harm; what is too long is cut."""
    bad = "<script>alert('&\"')</script>\x00\ud800]]>"
    shape = topology({"a": {"graph-note": bad, "site": bad}, "b": {"graph-note": "long " * 50}}, [("a", "b")])
    picture = graph.svg(shape, {"a": bad})
    root = ET.fromstring(picture.encode())
    assert not list(root.iter(f"{SVG}script"))
    assert all(len(note) <= 28 for note in texts(picture, "note"))


def test_it_needs_nothing_else_and_is_the_same_each_time() -> None:
    """No reference leads out of it; it has a title and a description; light, dark and paper are thought of."""
    picture = graph.svg(datacenters())
    assert picture == graph.svg(datacenters())
    assert not re.search(r"https?://", picture.replace("http://www.w3.org/2000/svg", ""))
    assert not re.search(r"url\(|href|<image|@import", picture)
    root = ET.fromstring(picture)
    ids = {e.get("id") for e in root.iter()}
    assert set(root.get("aria-labelledby", "").split()) <= ids
    assert root.findtext(f"{SVG}desc", "").startswith("14 nodes: client1, ")
    assert "prefers-color-scheme: dark" in picture
    assert "@media print" in picture


def test_the_picture_in_the_readme_is_the_topology_as_it_is() -> None:
    """`anycast-lab graph --out containerlab/topology.svg` draws it again."""
    folder = Path(__file__).parents[3] / "containerlab"
    assert (folder / "topology.svg").read_text(encoding="utf-8") == graph.svg(load(folder / "anycast.clab.yml", {}))
