"""Kinds of checks of other packages: found when they are named. A broken one is a problem of the configuration."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from anycast_agent.checks import table
from anycast_agent.config import load
from anycast_agent.config.schema import schema
from tests.support.configs import ANSWERS, changed, problems, written
from tests.support.packages import install, on_the_path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """A folder of packages on the path of this process."""
    folder = tmp_path / "site"
    folder.mkdir()
    with on_the_path(folder):
        yield folder


def test_a_package_is_imported_when_a_configuration_names_its_kind(tmp_path: Path, site: Path) -> None:
    """And not before; it is found without a restart. Its words and numbers go with the check."""
    install(site, "pkg_sound", {"sound": "K"}, 'K = kind("sound", outcomes=(BAD_ANSWER,))')
    load(written(tmp_path, changed()))
    assert "pkg_sound" not in sys.modules
    (check,) = load(written(tmp_path, changed((ANSWERS, {"type": "sound", "how": "so"})))).config.services["dns"].checks
    assert "pkg_sound" in sys.modules
    assert (check.kind, check.prefix, check.params.how) == ("sound", "", "so")
    assert check.codes == ("ok", "timeout", "not_run", "broken", "bad_answer")
    assert [measure.name for measure in check.measures] == ["lag"]


def test_its_keys_are_explained_and_are_in_the_schema(tmp_path: Path, site: Path) -> None:
    """As those of ours are. The reference of this package lists ours alone."""
    install(site, "pkg_explained", {"explained": "K"}, 'K = kind("explained")')
    assert problems(tmp_path, (ANSWERS, {"type": "explaind"})) == [
        "unknown type 'explaind' (did you mean 'explained'?); there are " + ", ".join([*table.OURS, "explained"])
    ]
    assert problems(tmp_path, (ANSWERS, {"type": "explained", "hov": "so"})) == [
        "unknown key 'hov' (did you mean 'how'?)"
    ]
    assert problems(tmp_path, (ANSWERS, {"type": "explained", "how": 1})) == [
        "how: text belongs here, not 1; in quotes it is text: '1'"
    ]
    titles = [
        c["title"]
        for c in schema(table.usable())["$defs"]["ServiceModel"]["properties"]["checks"]["additionalProperties"][
            "oneOf"
        ]
    ]
    assert "explained check" in titles


def test_two_kinds_may_have_a_model_of_the_same_name(site: Path) -> None:
    """Each has its own in the schema."""
    source = """
class JsonExpectation(Params):
    mine: int
class Q(Params):
    json_body: JsonExpectation
K = kind("alike", params=Q)
"""
    install(site, "pkg_alike", {"alike": "K"}, source)
    found = schema(table.usable())["$defs"]
    assert set(found["alike.JsonExpectation"]["properties"]) == {"mine"}
    assert set(found["http.JsonExpectation"]["properties"]) == {"pointer", "equals"}


BROKEN = [
    ("import_error", "import no_such_module", "pkg_import_error 1.0 cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'"),
    ("exits", "raise SystemExit(3)", "pkg_exits 1.0 cannot be loaded: SystemExit: 3"),
    ("no_attribute", "", "pkg_no_attribute 1.0 cannot be loaded: AttributeError: module 'pkg_no_attribute' has no attribute 'K'"),
    ("no_kind", "K = 3", "pkg_no_kind 1.0: pkg_no_kind:K is no Kind, but int"),
    ("other_name", "K = kind('x')", "pkg_other_name 1.0: pkg_other_name:K is the kind 'x', not 'other_name'"),
    ("unsound", "K = kind('unsound', outcomes=(OK,))", "pkg_unsound 1.0 cannot be loaded: TypeError: outcomes is a tuple of Code"),
    ("target", "def no(p): raise KeyError('boo')\nK = kind('target', own_target=no)", "KeyError: 'boo'"),
    ("files", "def no(p): raise OSError('boo')\nK = kind('files', files=no)", "OSError: boo"),
    ("files_none", "K = kind('files_none', files=lambda p: None)", "TypeError: 'NoneType' object is not iterable"),
    ("files_odd", "K = kind('files_odd', files=lambda p: ('/etc/x',))", "TypeError: files yields File, not str"),
    ("key", "class Q(Params):\n    interval: int = 1\nK = kind('key', params=Q)", "every check has the key 'interval' already"),
    ("validator", "from pydantic import field_validator\nclass Q(Params):\n    a: int = 1\n    @field_validator('a')\n"
     "    @classmethod\n    def no(cls, v): raise TypeError('boo')\nK = kind('validator', params=Q)", "TypeError: boo"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "source", "said"), BROKEN, ids=[name for name, *_ in BROKEN])
def test_a_broken_kind_is_a_problem_at_its_check(tmp_path: Path, site: Path, name: str, source: str, said: str) -> None:
    """With the name of its package. It is no problem to whoever does not name it."""
    install(site, f"pkg_{name}", {name: "K"}, source)
    load(written(tmp_path, changed()))
    assert problems(tmp_path, (ANSWERS, {"type": name, "a": 1} if name == "validator" else {"type": name})) == [
        f"type {name!r} is broken: {said}"
    ]


def test_a_broken_kind_hides_no_other_problem(tmp_path: Path, site: Path) -> None:
    """Nor does it keep the hints from an unknown key elsewhere."""
    install(site, "pkg_hides", {"hides": "K"}, "raise RuntimeError('boo')")
    found = problems(
        tmp_path, (ANSWERS, {"type": "hides", "x": 1}), ((*ANSWERS[:-1], "other"), {"type": "tcp", "prot": 53})
    )
    assert "unknown key 'prot' (did you mean 'port'?)" in found
    assert "type 'hides' is broken: pkg_hides 1.0 cannot be loaded: RuntimeError: boo" in found


def test_a_kind_of_ours_is_never_replaced(tmp_path: Path, site: Path) -> None:
    """Whoever offers one of its name is not even imported."""
    install(site, "pkg_ours", {"tcp": "K"}, "K = kind('tcp')")
    load(written(tmp_path, changed((ANSWERS, {"type": "tcp", "port": 53}))))
    assert "pkg_ours" not in sys.modules


def test_a_name_that_two_packages_offer_is_nobodys(tmp_path: Path, site: Path) -> None:
    """Which one is meant is not guessed."""
    for package in ("pkg_one", "pkg_two"):
        install(site, package, {"both": "K"}, "K = kind('both')")
    (said,) = problems(tmp_path, (ANSWERS, {"type": "both"}))
    assert said in (
        "type 'both' is broken: several packages offer it: pkg_one 1.0, pkg_two 1.0",
        "type 'both' is broken: several packages offer it: pkg_two 1.0, pkg_one 1.0",
    )


def test_a_package_that_is_mended_is_read_again(tmp_path: Path, site: Path) -> None:
    """A failure to load is not remembered: a reload finds what was installed since."""
    install(site, "pkg_mended", {"mended": "K"}, "import no_such_module")
    assert problems(tmp_path, (ANSWERS, {"type": "mended"}))
    (site / "no_such_module.py").write_text("")
    with (site / "pkg_mended.py").open("a") as module:
        module.write("\nK = kind('mended')\n")
    load(written(tmp_path, changed((ANSWERS, {"type": "mended"}))))
