"""The paths that routers show us: kept, forgotten, and bounded, whatever a router sends."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from anycast_agent.speaker.pipe.codec import ReceivedPath
from anycast_agent.speaker.pipe.paths import MAX_PARTS, MAX_PATHS_OF_A_PREFIX, Paths

PATH = ReceivedPath("198.51.100.0", "192.0.2.53/32", "0.0.0.1", (65011, 65101))


def test_a_path_comes_changes_and_goes() -> None:
    """Each is told once; what is gone already is no news."""
    paths, other = Paths(), replace(PATH, as_path=(65011, 65102))
    gone = replace(PATH, as_path=None)
    assert paths.take(gone) is None
    assert [paths.take(path) for path in (PATH, other)] == [PATH, other]
    assert list(paths) == paths.of(PATH.neighbor) == [other]
    assert paths.of("198.51.100.2") == []
    assert [paths.take(gone), paths.take(gone)] == [gone, None]
    assert list(paths) == []


def test_a_router_with_add_path_shows_a_bounded_number_of_a_prefix() -> None:
    """The others are not kept and not told. Where one goes, another has room; other prefixes are not affected."""
    paths = Paths()
    told = [paths.take(replace(PATH, path_id=str(n))) for n in range(12_000)]
    assert sum(path is not None for path in told) == len(list(paths)) == MAX_PATHS_OF_A_PREFIX
    assert paths.take(replace(PATH, prefix="192.0.2.54/32")) is not None
    assert paths.take(replace(PATH, path_id="0", as_path=None)) is not None
    assert paths.take(replace(PATH, path_id="20000")) is not None


def test_all_paths_together_are_bounded_by_their_size() -> None:
    """20,000 ordinary ones fit, and far fewer that are as long as they can be."""
    ordinary, long = Paths(), Paths()
    for n in range(30_000):
        path = replace(PATH, prefix=f"192.0.{n >> 8}.{n & 255}/32")
        ordinary.take(path)
        long.take(replace(path, as_path=(65011,) * 64, large_communities=("65000:1:1",) * 32))
    assert len(list(ordinary)) >= 20_000
    assert MAX_PARTS // 110 < len(list(long)) < MAX_PARTS // 90


def test_a_path_that_has_grown_beyond_the_bound_is_told_as_gone() -> None:
    """Its old form is not the router's any more."""
    paths = Paths()
    n = 0
    while paths.take(replace(PATH, prefix=f"192.0.{n >> 8}.{n & 255}/32")) is not None:
        n += 1
    grown = replace(PATH, prefix="192.0.0.0/32", as_path=(65011,) * 64)
    assert paths.take(grown) == replace(grown, as_path=None)
    assert all(path.prefix != grown.prefix for path in paths)


@given(st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from("PQ"), st.sampled_from("12"), st.booleans())))
def test_it_is_what_the_last_word_about_each_path_says(steps: list[tuple[str, str, str, bool]]) -> None:
    """And after everything went, nothing is counted any more."""
    paths, right = Paths(), {}
    for *key, comes in steps:
        path = ReceivedPath(key[0], key[1], key[2], (1,) if comes else None)
        paths.take(path)
        right[tuple(key)] = path
    assert set(paths) == {p for p in right.values() if p.as_path is not None}
    for path in list(paths):
        paths.take(replace(path, as_path=None))
    assert (list(paths), paths._parts, dict(paths._of_prefix)) == ([], 0, {})
