"""The report: one file that needs nothing else, says every figure, and shows even a short loss."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import replace
from html import escape
from itertools import combinations
from pathlib import Path

import pytest

from lab.drills.result import Expectation, Family, Figures, Load, Mark, Result, Stream, Window
from lab.report import graph, junit, trend
from lab.report import page as report
from lab.report.chart import ticks
from lab.report.labels import Label, place
from lab.report.markup import count, seconds
from lab.report.style import NODES
from lab.report.views import bars, lost_spans, moments, whole, zooms
from tests.lab.report.sample import (
    ABOUT,
    datacenters,
    flapping,
    long,
    quiet,
    result,
    samples,
    short,
    stopped,
    stream,
)

BAD = "<script>alert('&\"')</script>\x00\ud800]]>"


def document(results: list[Result]) -> ET.Element:
    """Parsed, so well-formed."""
    return ET.fromstring(report.html(results, graph.svg(datacenters()), ABOUT))


def said(element: ET.Element | None) -> str:
    return "" if element is None else " ".join(" ".join(element.itertext()).split())


def having(element: ET.Element, kind: str) -> list[ET.Element]:
    return [e for e in element.iter() if kind in e.get("class", "").split()]


def drill(results: list[Result], title: str) -> ET.Element:
    return next(e for e in having(document(results), "drill") if said(e).startswith(title))


# What it says


def test_the_first_line_of_a_drill_says_what_users_noticed() -> None:
    """In one sentence, before any figure."""
    sentence = "users near ams: no answer for 370 ms; users near fra: nothing"
    section = drill([replace(short(), noticed=sentence)], "Site withdrawn")
    assert said(section).startswith(f"Site withdrawn ✓ passed {sentence} ")


def test_an_overloaded_machine_is_a_verdict_of_its_own_and_the_load_is_told() -> None:
    """In the total, in the summary and in the section; with how much wider bounds were."""
    load = Load(2, 0.97, 12.5, 0.3, 1.25)
    page = document([replace(short(), load=load, slack=4.0), quiet()])
    assert "1 of 2 passed, 1 on an overloaded machine" in said(page.find("body/header"))
    rows = [said(row) for row in having(page, "summary")[0].findall("tbody/tr")]
    assert "◐ overloaded" in rows[0] and "✓ passed" in rows[1]
    section = said(having(page, "drill")[0])
    assert "2 cores, 97% busy, load 12.5; held the runner up for 1.25 s at the worst, 300 ms in 1 of 100" in section
    assert "Bounds on tables were widened: slack 4." in section


def test_each_family_has_its_own_figures() -> None:
    """Detected, and withdrawn by the first and the last prefix."""
    families = {"IPv4": Family(0.1, 0.2, 0.3), "IPv6": Family(None, 5.0, 6.0), "x": Family()}
    section = said(drill([replace(short(), figures=replace(short().figures, families=families))], "Site withdrawn"))
    assert "IPv4: detected, withdrawn first and last 100 ms, 200 ms, 300 ms" in section
    assert "IPv6: detected, withdrawn first and last –, 5.00 s, 6.00 s" in section and " x: " not in section


def test_on_a_phone_the_summary_is_what_one_asks_first_and_comes_before_the_network() -> None:
    """Drill, Passed, Lost, Longest; the other columns are for wider screens."""
    page = document(samples())
    table = having(page, "summary")[0]
    heads = table.findall("thead/tr/th")
    assert [said(e) for e in heads[:4]] == ["Drill", "Passed", "Lost", "Longest"]
    assert ["more" in e.get("class", "").split() for e in heads] == [False] * 4 + [True] * (len(heads) - 4)
    for row in table.findall("tbody/tr"):
        assert ["more" in e.get("class", "").split() for e in row] == [
            "more" in e.get("class", "").split() for e in heads
        ]
    text = report.html(samples(), graph.svg(datacenters()), ABOUT)
    assert text.index('class="summary"') < text.index('class="wide picture"')
    assert ".summary .more { display: none; }" in text


def test_junit_has_a_case_for_each_drill() -> None:
    """What failed with what was not met, what could not run as an error; what was not judged is skipped, not passed."""
    overloaded = replace(short(), drill="late", load=Load(2, 1.0, 9.0, 0.5, 1.0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new" / "junit.xml"
        junit.write([*samples(), overloaded, replace(short(), drill=BAD, noticed=BAD)], path)
        top = ET.parse(path).getroot()
    suites = {e.get("name"): e for e in top.findall("testsuite")}
    assert {n: (e.get("tests"), e.get("failures"), e.get("errors"), e.get("skipped")) for n, e in suites.items()} == {
        "bfd": ("6", "0", "1", "1"), "hold": ("1", "1", "0", "0"),
    }  # fmt: skip
    cases = {case.get("name"): case for case in top.iter("testcase")}
    failure = cases["node-frozen"].find("failure")
    assert failure is not None and failure.text == "no stream loses for more than 0.5 s: 8.44 s (client1, dns, IPv4)"
    error, skipped = cases["border-lost"].find("error"), cases["late"].find("skipped")
    assert error is not None and error.get("message") == stopped().problem and skipped is not None
    assert [e.tag for e in cases["site-withdrawn"]] == ["system-out"]


def test_the_page_over_all_runs_has_a_row_for_each_drill_and_a_column_for_each_run(tmp_path: Path) -> None:
    """The last thirty, the newest on the right; a folder that is none of ours is told, and stops nothing."""
    for day in range(1, 33):
        report.write([short(), *([long()] if day > 30 else [])], tmp_path / f"2025-11-{day:02}")
    (tmp_path / "2025-12-01").mkdir()
    (tmp_path / "2025-12-01" / "results.json").write_text('{"results": [{"drill": 1}]}')
    page = ET.fromstring(trend.write(tmp_path).read_text())
    heads = [said(e) for e in page.iter("th") if e.get("scope") == "col"]
    assert heads == ["Drill", *(f"2025-11-{day:02}" for day in range(4, 33))]
    rows = {
        said(row.find("th")): [said(cell) for cell in row.findall("td")]
        for row in page.iter("tr")
        if row.find("td") is not None
    }
    assert rows["site-withdrawn, bfd"] == ["✓ 67 ms"] * 29
    assert rows["node-frozen, hold"] == ["–"] * 27 + ["✕ 8.44 s"] * 2
    assert "2025-12-01 cannot be read: 'variant'" in said(page)
    assert {e.get("href") for e in page.iter("a")} == {f"2025-11-{day:02}/report.html" for day in range(4, 33)}


def test_the_head_says_how_many_passed_and_where() -> None:
    """Totals, variants, when, and what the caller tells about the machine."""
    head = said(document(samples()).find("body/header"))
    assert "3 of 5 passed, 1 failed, 1 could not run" in head
    assert "bfd (4), hold (1)" in head
    assert all(f"{name} {value}" in head for name, value in ABOUT.items())
    assert "2025-11-20 14:03:22" in said(ET.fromstring(report.html([short()])))


def test_what_failed_comes_first_and_is_told_in_words() -> None:
    """In the summary and in the sections; never by color only."""
    page = document(samples())
    rows = [said(row) for row in having(page, "summary")[0].findall("tbody/tr")]
    assert [row.split("✕")[0].split("✓")[0].strip() for row in rows] == [
        "Node frozen", "A border loses power", "Site withdrawn", "Speaker killed", "Link flaps",
    ]  # fmt: skip
    assert "✕ failed" in rows[0]
    assert "✕ not run" in rows[1]
    assert all("✓ passed" in row for row in rows[2:])
    assert [said(e.find("h2"))[:4] for e in having(page, "drill")] == ["Node", "A bo", "Site", "Spea", "Link"]


def test_every_row_leads_to_its_section() -> None:
    """Its link points to an id that is there."""
    page = document(samples())
    ids = {e.get("id") for e in page.iter()}
    links = [e.get("href", "") for e in page.iter("a")]
    assert len(links) == len(samples())
    assert {link[1:] for link in links} <= ids


@pytest.mark.parametrize("one", samples(), ids=lambda r: r.drill)
def test_every_figure_is_in_the_text(one: Result) -> None:
    """In the summary and in the drill's section; what was not seen is a dash."""
    page = document([one])
    row, section = said(having(page, "summary")[0]), said(having(page, "drill")[0])
    f = one.figures
    if one.streams:
        for text in (row, section):
            for value in (f.loss, f.detected, f.withdrawn, f.table, f.restored):
                assert f" {seconds(value)} " in f"{text} "
        assert f"Flaps {count(f.flaps)}" in section
    assert one.title in section
    assert one.about in section
    for e in one.expectations:
        assert f"{'✓ met' if e.met else '✕ not met'} {e.text} found: {e.found}" in section
    for s in one.streams:
        answers = " ".join(f"{node} {count(many)}" for node, many in sorted(s.answered.items()))
        assert f"{s.client} {s.protocol}, {s.family} {count(s.sent)} {answers} {count(s.lost)}" in section


def test_a_drill_that_could_not_run_says_why() -> None:
    """Its problem is shown; there is no nought where nothing was measured."""
    section = drill(samples(), "A border loses power")
    assert stopped().problem in said(section)
    assert not having(section, "chart")
    row = next(row for row in having(document([stopped()]), "summary")[0].iter("tr") if "not run" in said(row))
    assert [said(cell) for cell in row.findall("td")[1:]] == ["–"] * 3 + ["bfd"] + ["–"] * 5


def test_a_loss_that_did_not_end_is_said_to_last() -> None:
    """A window without an end has no length, and what was never restored is no dash: that would look like no loss."""
    gone = replace(stream("client1", "dns", "IPv4", [(5.0, 20.0, 1.0)], 20.0), windows=(Window(5.0, None, 9, 9),))
    page = document([replace(short(), streams=(gone,), figures=Figures(loss=15.0))])
    assert "to the end" in said(page)
    assert "Restored never" in said(having(page, "drill")[0])
    assert " never 0" in said(having(page, "summary")[0])


def test_it_warns_that_the_lab_has_no_distance() -> None:
    """The figures are a floor, not a promise."""
    footer = said(document(samples()).find("body/footer"))
    assert "minutes" in footer
    assert "not a promise" in footer


def test_no_drill_at_all_is_no_success() -> None:
    """An empty run is not shown as well."""
    text = report.html([])
    assert "0 of 0 passed" in text
    assert 'class="ok">✓' not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0 ms"), (0.0004, "0.4 ms"), (0.067, "67 ms"), (0.9994, "999 ms"), (0.9996, "1.00 s"),
     (1.84, "1.84 s"), (99.996, "100 s"), (120.4, "120 s")],
)  # fmt: skip
def test_times_are_written_as_people_say_them(value: float | None, text: str) -> None:
    """Milliseconds below a second, seconds above, a dash for what was not seen."""
    assert seconds(value) == text


# What it shows


def test_a_short_loss_is_seen_in_the_zoomed_chart() -> None:
    """67 ms of 20 s: at least two hundredths of the width there, and not nothing in the chart of the whole drill."""
    first = having(drill(samples(), "Site withdrawn"), "charts")[0]
    whole_one, close = having(first, "whole")[0], having(first, "close")[0]
    wide = [float(e.get("width", "0").rstrip("%")) for e in having(close, "lost")]
    assert sum(wide) >= 2
    assert having(close, "lane")
    assert all(float(e.get("width", "0").rstrip("%")) >= 0.4 for e in having(whole_one, "lost"))
    assert len(having(whole_one, "focus")) == 1
    assert {e.text for e in having(close, "chart")[0].iter("text")} >= {"fault", "detected", "withdrawn", "table"}


def test_losses_are_told_without_color() -> None:
    """By hatching, and by a lane of their own below the axis; a client that lost nothing has neither."""
    text = report.html([short()])
    assert "url(#hatch)" in text
    assert '<pattern id="hatch"' in text
    second = having(drill([short()], "Site withdrawn"), "charts")[1]
    assert not having(second, "lost")
    assert not having(second, "lane")


def test_a_long_loss_needs_no_second_chart() -> None:
    """Where the whole drill shows it, one chart is enough; it then has the words for all moments."""
    assert zooms(long()) == []
    assert len(having(drill([long()], "Node frozen"), "charts")[0].findall("figure")) == 1


def test_a_loss_elsewhere_is_zoomed_too() -> None:
    """Around the fault and around the recovery, if most was lost there."""
    later = result("back", {"client1": [(12.1, 12.2, 1.0)]}, short().marks, Figures())
    assert [view.title for view in zooms(later)] == ["Around the fault", "Around the recovery"]
    assert all(view.span < 3 for view in zooms(later))


def test_a_zoom_holds_all_that_the_fault_brought_about() -> None:
    """From a little before the fault to a second beyond the last event."""
    (view,) = zooms(short())
    assert view.begin == pytest.approx(4.8)
    assert view.end == pytest.approx(6.121)
    begun_before = result("early", {"client1": [(4.95, 5.4, 1.0)]}, short().marks, Figures())
    assert zooms(begun_before)[0].end == pytest.approx(6.4)


def test_bars_hold_every_request() -> None:
    """Summed over streams, merged into wider bars, the last one cut: no request is left out or counted twice."""
    one = short()
    for fine in (True, False):
        got = bars(one.streams, {}, whole(one), fine)
        for name in got.counts:
            assert sum(got.counts[name]) == sum(sum(s.series.get(name, [])) for s in one.streams)
            area = sum(rate * got.width for rate in got.rates(name)[:-1]) + got.rates(name)[-1] * got.last
            assert area == pytest.approx(sum(got.counts[name]))
        assert len(got) <= (401 if fine else 240)
        assert got.width * (len(got) - 1) + got.last == pytest.approx(20.02, abs=0.001)


def test_a_node_has_the_same_color_in_every_chart() -> None:
    """In all drills, legends and tables; what has no color of its own is counted as others."""
    many = {f"node{n:02}": 100 - n for n in range(NODES + 4)}
    s = replace(short().streams[0], answered=many, series={name: [value] * 400 for name, value in many.items()})
    page = document([short(), quiet(), replace(short(), streams=(s,))])
    colors: dict[str, set[str]] = {}
    for legend in having(page, "legend"):
        for item in legend.findall("li"):
            colors.setdefault(said(item), set()).add(item.find("svg/rect").get("class", ""))  # type: ignore[union-attr]
    assert all(len(kinds) == 1 for kinds in colors.values())
    own = [kinds for name, kinds in colors.items() if name != "other nodes" and "lost" not in name]
    assert len({min(kinds) for kinds in own}) == len(own) == NODES
    assert colors["other nodes"] == {"rest"}


def test_many_flaps_stay_legible() -> None:
    """Few lines and words in a chart, few moments in the list, and how many more there are is said."""
    section = drill([flapping(100)], "Link flaps")
    for chart in having(section, "chart"):
        assert len(having(chart, "halo")) <= 24
    assert "and 186 more moments" in said(section)
    assert "more moments as ticks above the bars" in said(section)
    assert len(having(section, "list")[0].findall("li")) == 14


def test_what_is_left_out_is_never_the_first_of_its_kind() -> None:
    """A late recovery is shown although a hundred changes came before it."""
    marks = [Mark(n / 10, "table", str(n)) for n in range(100)] + [Mark(50.0, "recovery", "at last")]
    shown, more = moments(marks, 10)
    assert shown[-1].text == "at last"
    assert (len(shown), more) == (10, 91)


def test_words_at_marks_never_overlap() -> None:
    """However close the marks: no two words touch, no line runs through words, none leaves the chart."""
    kinds = ("fault", "detected", "withdrawn", "table", "recovery", "announced")
    for spread in (0.0, 0.003, 0.01, 0.05, 0.16):
        for start in (0.0, 0.3, 0.97):
            wanted = [(min(1.0, start + n * spread), kinds[n % 6]) for n in range(18)]
            labels = [label for label in place(wanted) if label]
            assert labels[0].text == "fault"
            for one, other in combinations(labels, 2):
                assert not (one.lane == other.lane and _meet(one, other)), (one, other)
            for label in labels:
                assert -6 < label.extent[0] < label.extent[1] < 276


def _meet(one: Label, other: Label) -> bool:
    return one.extent[0] < other.extent[1] and other.extent[0] < one.extent[1]


def test_ticks_are_round_and_few() -> None:
    """Seconds that people count in."""
    assert ticks(0, 20, 8) == [0, 5, 10, 15, 20]
    assert ticks(-0.2, 1.2, 8) == [-0.2, 0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2]
    assert ticks(0, 1050, 4) == [0, 500, 1000]
    assert all(len(ticks(0, span / 7, 8)) <= 9 for span in range(1, 500))


def test_losses_close_together_are_one_stretch() -> None:
    """Of all streams; what lies outside of the view is cut."""
    one = replace(short().streams[0], windows=(Window(1, 2, 1, 1), Window(2.01, 3, 1, 1), Window(19, None, 1, 1)))
    assert lost_spans([one], whole(short()), 0.05) == [(1, 3), (19, 20.02)]


# That it may be trusted anywhere


def test_hostile_text_is_only_text() -> None:
    """In every field that comes from elsewhere."""
    s = Stream(BAD, BAD, BAD, 9, {BAD: 9}, 0, (Window(0.1, 0.2, 1, 1),), {BAD: [3, 3, 3]}, 0.1, None)
    marks = (Mark(0.1, BAD, BAD), Mark(0.1, "fault", BAD))
    bad = Result(BAD, BAD, BAD, BAD, BAD, 0.15, marks, (s,), Figures(), (Expectation(BAD, False, BAD),), BAD, BAD)
    text = report.html([bad], graph.svg(datacenters()), {BAD: BAD})
    page = ET.fromstring(text)
    assert not list(page.iter("script"))
    assert "<script" not in text
    assert text.encode()


def test_it_loads_and_runs_nothing() -> None:
    """No script, no reference that leads out of the file; the page's own policy forbids them, too."""
    text = report.html(samples(), graph.svg(datacenters()), ABOUT)
    assert not re.search(r"https?://", text.replace('xmlns="http://www.w3.org/2000/svg"', ""))
    assert not re.search(r"<script|<link|<img|<iframe|<object|\bsrc=|@import|\bon\w+=", text)
    assert set(re.findall(r"url\(([^)]*)\)", text)) == {"#hatch"}
    assert all(href.startswith("#") for href in re.findall(r'href="([^"]*)"', text))
    assert "default-src 'none'" in text


def test_the_same_results_make_the_same_file(tmp_path: Path) -> None:
    """Byte by byte, so that two runs can be compared."""
    one, two = (report.write(samples(), tmp_path / name, "", ABOUT) for name in ("a", "b"))
    assert one.read_bytes() == two.read_bytes()
    assert (tmp_path / "a/results.json").read_bytes() == (tmp_path / "b/results.json").read_bytes()


def test_the_data_lies_beside_the_report(tmp_path: Path) -> None:
    """With what is known about the run, and every result as its own JSON; a folder is made."""
    path = report.write(samples(), tmp_path / "new" / "folder", graph.svg(datacenters()), ABOUT)
    assert path == tmp_path / "new" / "folder" / "report.html"
    data = json.loads((path.parent / "results.json").read_text())
    assert data["about"] == ABOUT
    assert data["results"] == json.loads(json.dumps([r.to_json() for r in samples()]))


def test_thirty_drills_can_be_sent_by_mail() -> None:
    """Below two megabytes, also where each of them lost all along."""
    kinds = [short(), long(), flapping(100)]
    cuts = [(5 + n * 0.3, 5.15 + n * 0.3, 0.5) for n in range(80)]
    worst = result("worst", {"client1": cuts, "client2": cuts}, flapping().marks, Figures(), duration=30.0)
    assert len(report.html(kinds * 10, graph.svg(datacenters())).encode()) < 2_000_000
    assert len(report.html([worst] * 30, graph.svg(datacenters())).encode()) < 2_000_000


NOTHING = Stream("client1", "dns", "IPv4", 0, {}, 0, (), {}, None, None)


@pytest.mark.parametrize(
    "odd",
    [
        replace(short(), marks=()),
        replace(short(), streams=()),
        replace(short(), streams=(NOTHING,)),
        replace(short(), streams=(replace(NOTHING, series={"a": [5]}),), duration=0.0),
        replace(short(), duration=0.0),
        replace(short(), duration=500.0),
        replace(short(), started="some day", title=""),
        replace(short(), marks=(Mark(-5.0, "fault", "before"), Mark(99.0, "table", "after"))),
        replace(short(), marks=(), streams=tuple(replace(s, windows=(Window(3, 3, 0, 0),)) for s in short().streams)),
    ],
)  # fmt: skip
def test_odd_results_are_shown_all_the_same(odd: Result) -> None:
    """Nothing measured, nothing marked, times that do not fit: a report for what there is."""
    assert having(document([odd]), "drill")


# In a browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

WIDTHS = (390, 730, 1280)
_MEASURE = """
function look(frame, width) {
  const doc = frame.contentDocument, found = [];
  if (doc.documentElement.scrollWidth > width) found.push("the page scrolls: " + doc.documentElement.scrollWidth);
  for (const e of doc.body.querySelectorAll("*")) {
    const scroller = e.parentElement.closest(".wide"), r = e.getBoundingClientRect();
    if (!scroller && (r.right > width + 0.5 || r.left < -0.5)) found.push(e.outerHTML.slice(0, 90));
  }
  for (const chart of doc.querySelectorAll(".chart, .topology")) {
    const boxes = [...chart.querySelectorAll("text")].map(e => [e.textContent, e.getBoundingClientRect()]);
    boxes.forEach(([a, x], i) => boxes.slice(i + 1).forEach(([b, y]) => {
      const across = Math.min(x.right, y.right) - Math.max(x.left, y.left);
      const down = Math.min(x.bottom, y.bottom) - Math.max(x.top, y.top);
      if (across > 0.5 && down > 3) found.push("words overlap: " + a + ", " + b);
    }));
  }
  return {width, found, drills: doc.querySelectorAll(".drill").length, inner: frame.contentWindow.innerWidth};
}
onload = () => { document.getElementById("out").textContent =
  JSON.stringify([...document.querySelectorAll("iframe")].map(f => look(f, Number(f.getAttribute("width"))))); };
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs a browser (package chromium)")
@pytest.mark.timeout(180)
def test_nothing_overflows_the_page_and_no_words_overlap(tmp_path: Path) -> None:
    """At any width, also where two charts just fit beside each other; tables and the network scroll in their frames."""
    page = escape(
        report.html([*samples(), replace(short(), drill="x" * 90, title="y" * 90)], graph.svg(datacenters()), ABOUT)
    )
    frames = "".join(f'<iframe width="{w}" height="900" style="border:0" srcdoc="{page}"></iframe>' for w in WIDTHS)
    (tmp_path / "look.html").write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><pre id="out"></pre>{frames}<script>{_MEASURE}</script>'
    )
    words = [
        CHROMIUM or "", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-component-update",
        "--disable-background-networking", "--disable-sync", "--dump-dom", "--window-size=2600,1200",
        f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "look.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="out">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[:500]
    seen = json.loads(found[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    assert [(frame["width"], frame["found"], frame["drills"], frame["inner"]) for frame in seen] == [
        (width, [], 6, width) for width in WIDTHS
    ]
