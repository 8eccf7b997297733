"""The words of messages: those of the field, for every key of every model; Python's never."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from anycast_agent.checks import table
from anycast_agent.checks.fields import forms
from anycast_agent.checks.tcp import TcpParams
from anycast_agent.config.hints import CHECK, check_keys, keys_of, kind_meant, shapes, unknown_key
from anycast_agent.config.models import CheckModel
from anycast_agent.config.report import WORDS, details, said
from anycast_agent.config.words import KEYS, plain

MODELS: list[type[BaseModel]] = [*dict.fromkeys(shapes().values()), CheckModel, *(kind.params for kind in table.ours())]
ODD: list[Any] = [
    None, True, False, 0, -1, 1.5, 10**30, float("nan"), float("inf"), "", "x", "0120", "true", "5 s", "x" * 5000,
    "a b", [], [1], ["x"], [[]], [None], [True], ["x"] * 70, {}, {"x": 1}, {"x": []}, {"at_least": "x"},
]  # fmt: skip
PYTHON = re.compile(
    r"tuple|dict|\blist\[|string|integer|\bint\b|\bstr\b|bool|float|None|True|False|[Ii]nput|parse|instance"
)
OWN = ("value_error", "missing", "extra_forbidden")
"""Types of errors whose words are our own from the start."""


def _errors(model: type[BaseModel]) -> Iterator[tuple[str, Any, str, str]]:
    """Key, value, type and words of all that is wrong with each odd value of each key."""
    for key in sorted(keys_of(model)):
        for value in ODD:
            written = {key: value}
            try:
                model.model_validate(written)
            except ValidationError as error:
                for detail in details(error):
                    yield key, value, detail["type"], said(detail, written, forms(model))[1]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_message_speaks_python(model: type[BaseModel]) -> None:
    """Whatever stands under a key, the words are those of the configuration, and every kind of error has some."""
    for key, value, kind, text in _errors(model):
        assert kind in OWN or kind in WORDS, (key, value)
        assert not PYTHON.search(text.replace(key, "")), (key, value, text)


def _a_number(model: type[BaseModel], key: str) -> bool:
    """Whether a key takes 1 or 0.1, and no text."""
    kinds = {kind for k, v, kind, _ in _errors(model) if k == key and v == "x"}
    return bool(kinds & {"int_type", "float_type", "int_parsing", "float_parsing"})


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_number_is_a_number(model: type[BaseModel]) -> None:
    """``true`` is not 1 and the text ``0120`` is not 120, under any key that takes a number."""
    for key in sorted(keys_of(model)):
        if _a_number(model, key):
            wrong = {str(v) for k, v, _, _ in _errors(model) if k == key and v in (True, "0120")}
            assert wrong == {"True", "0120"}, key


def test_a_number_in_quotes_is_a_number() -> None:
    """Templates like to write them so."""
    assert TcpParams.model_validate({"port": "80"}) == TcpParams.model_validate({"port": 80})


# --- the words of other tools -------------------------------------------------------------------------------


def test_the_words_of_other_tools_lead_to_keys_that_exist() -> None:
    """A word stands for a key of ours or for a sentence; each is written as it is compared."""
    known = check_keys(None).union(*(keys_of(model) for model in shapes().values()))
    for word, meant in KEYS.items():
        assert word == plain(word)
        options = (meant,) if isinstance(meant, str) else meant
        assert all(" " in option or option in known for option in options), word
    aliases = [alias for kind in table.ours() for alias in kind.aliases]
    assert all(alias == plain(alias) for alias in aliases)
    assert len(set(aliases)) == len(aliases)


SERVICE, NEIGHBOR = ("services", "*"), ("bgp", "neighbors", "*")


@pytest.mark.parametrize(
    ("word", "place", "text"),
    [
        ("peerASN", NEIGHBOR, ": here it is 'remote_as'"),
        ("asn", ("bgp",), ": here it is 'local_as'"),
        ("asn", NEIGHBOR, ": here it is 'remote_as'"),
        ("remote-as", NEIGHBOR, " (did you mean 'remote_as'?)"),
        ("hold", NEIGHBOR, ": here it is 'hold_time'"),
        ("md5-password", NEIGHBOR, ": here it is 'password_file'"),
        ("pasword", NEIGHBOR, " (did you mean 'password_file'?)"),
        ("bfd", NEIGHBOR, ": ExaBGP speaks no BFD: hold_time, or a BFD daemon beside the agent, notices that a node is gone"),
        ("interval", SERVICE, ": it belongs to services.NAME.checks.NAME.interval"),
        ("med", SERVICE, ": it belongs to services.NAME.attributes.med"),
        ("interface", SERVICE, ": it belongs to node.interface"),
        ("local_as", (), ": it belongs to bgp.local_as"),
        ("failureThreshold", CHECK, ": here it is 'fall'"),
        ("intervall", CHECK, " (did you mean 'interval'?)"),
        ("qwertz", CHECK, ""),
    ],
)  # fmt: skip
def test_what_an_unknown_key_means(word: str, place: tuple[str, ...], text: str) -> None:
    """A slip of the pen, a key of another place, or another tool's word; never a key that is refused in turn."""
    assert unknown_key(word, place).text == text


@pytest.mark.parametrize(
    ("word", "kind"),
    [("tcp", "tcp"), ("HTTP_GET", "http"), ("TCP", "tcp"), ("httpGet", "http"), ("script", "exec"), ("dnss", "dns"),
     ("carrier-pigeon", None), ("", None)],
)  # fmt: skip
def test_which_type_of_check_is_meant(word: str, kind: str | None) -> None:
    """In another case, in another tool's word, or nearly."""
    assert kind_meant(word) == kind
