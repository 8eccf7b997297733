"""NOTIFICATIONs in words: who ended the session, why, what the other operator wrote, and what to do."""

from __future__ import annotations

import pytest

from anycast_agent.core import events as ev
from anycast_agent.speaker import notifications, wire
from anycast_agent.speaker.translation import Translation


@pytest.mark.parametrize(
    ("direction", "code", "text", "said"),
    [
        ("received", (2, 6), "", "the router ended the session: unacceptable hold time (2/6)"),
        ("sent", (2, 2), "", "ExaBGP ended the session: bad peer AS (2/2)"),
        ("received", (6, 3), "", "the router ended the session: peer de-configured (6/3)"),
        ("sent", (6, 3), "", "ExaBGP ended the session: its configuration was changed here (6/3)"),
        ("received", (3, 77), "", "the router ended the session: an UPDATE is not accepted (3/77)"),
        ("received", (99, 1), "", "the router ended the session: for a reason that has no name (99/1)"),
        ("received", (6, 2), 'Shutdown Communication: "back at 18:00"',
         'the router ended the session: administratively shut down (6/2): "back at 18:00"'),
    ],
)  # fmt: skip
def test_an_end_says_who_and_why(direction: str, code: tuple[int, int], text: str, said: str) -> None:
    """With the code, for those who look it up; one that nobody has named yet is said as that."""
    assert notifications.ended(direction, code, text) == said


@pytest.mark.parametrize(
    ("code", "router", "exabgp"),
    [
        ((2, 2), "remote_as", "remote_as"),
        ((2, 6), "hold_time must not be below", ""),
        ((6, 3), "no longer has this neighbor", ""),
        ((6, 4), "", ""),
    ],
)
def test_what_to_do_depends_on_who_ended_it(code: tuple[int, int], router: str, exabgp: str) -> None:
    """A reload that changes a neighbor makes ExaBGP end the session: the router is not to blame, and nothing is to do."""
    for direction, said in (("received", router), ("sent", exabgp)):
        remedy = notifications.remedy(direction, code)
        assert said in remedy
        assert bool(remedy) is bool(said)


@pytest.mark.parametrize(("who", "warned"), [("sent", False), ("received", True)])
def test_a_person_is_warned_of_a_neighbor_that_the_router_has_lost_and_not_of_our_own_reload(
    who: str, warned: bool
) -> None:
    """ExaBGP's reason for the end of the session names the side."""
    message = wire.Session("198.51.100.0", "down", f"peer reset, message [notification {who} (6,3)]")
    posted = list(Translation().events(message))
    assert any(isinstance(event, ev.Warned) for event in posted) is warned


def test_a_shutdown_communication_may_be_255_octets_long() -> None:
    """RFC 9003; ExaBGP shows one of more than 128 in hexadecimal, as an error."""
    said = "Wartung bis 18 Uhr: Umzug in den Nebenraum. " * 5
    octets = said.encode()
    data = f"invalid Shutdown Communication (too large) length : {len(octets)} [0x{octets.hex().upper()}]"
    assert notifications.shutdown_text(data) == said.strip()


@pytest.mark.parametrize(
    "data", ["", "empty Shutdown Communication.", "invalid Shutdown Communication (buffer underrun)"]
)
def test_without_a_text_nothing_is_made_up(data: str) -> None:
    """Whatever else stands in the data is not the operator's."""
    assert notifications.shutdown_text(data) == ""


def test_what_the_other_operator_wrote_harms_no_terminal() -> None:
    """It is printable, on one line, and bounded."""
    said = notifications.shutdown_text('Shutdown Communication: "a\x1b[2J\nb' + "c" * 999 + '"')
    assert said.startswith("a [2J b")
    assert said.isprintable()
    assert len(said) == 255


@pytest.mark.parametrize(
    ("reason", "found"),
    [
        ("notification received (6,2)", ("received", (6, 2))),
        ("peer reset, message [notification sent (2,2)] error[Bad Peer AS]", ("sent", (2, 2))),
        ("closing connection", None),
    ],
)
def test_a_reason_of_exabgp_names_a_notification_or_does_not(
    reason: str, found: tuple[str, tuple[int, int]] | None
) -> None:
    """ExaBGP says nothing else of one that it sent."""
    assert notifications.in_reason(reason) == found
