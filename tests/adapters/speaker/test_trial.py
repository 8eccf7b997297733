"""ExaBGP's configuration: quoted by its rules, and tried by its own parser before it replaces the one that runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.model import Attributes, Neighbor
from anycast_agent.speaker import trial
from anycast_agent.speaker.exabgp import Paths, SpeakerError, quoted, render
from anycast_agent.speaker.process import environment
from tests.adapters.speaker.harness import V4, Agent, BgpPeer, config, leaf, replace

READ_BACK = """
import base64, sys
from exabgp.configuration.configuration import Configuration
from exabgp.environment import getenv
from exabgp.logger import log
log.init(getenv())
read = Configuration([sys.argv[1]])
assert read.reload(), str(read.error)
for neighbor in read.neighbors.values():
    password = neighbor["md5-password"]
    print(base64.b64decode(password).decode() if neighbor["md5-base64"] else password)
for word in read.processes["agent"]["run"]:
    print(word)
"""


def _read_back(configuration: Path) -> list[str]:
    """The passwords, and the words of the helper's command, as ExaBGP has them."""
    words = [sys.executable, "-c", READ_BACK, str(configuration)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


HARD = ["plain", "it\"s", "it's", "\"", "'", "a\"b'c", "a\\b", "\\", "a\\", "\\u0022", "a b", "a;b", "a{b}", "#a", "a,b[c]", "~!@$%^&*()"]  # fmt: skip


def test_every_password_is_read_back_as_it_is(tmp_path: Path) -> None:
    """Quotes, backslashes and all that has a meaning in ExaBGP's configuration; eighty characters of each at the most."""
    neighbors = []
    for number, password in enumerate([*HARD, '"' * 80]):
        file = tmp_path / f"password{number}"
        file.write_text(password + "\n")
        neighbors.append(Neighbor(f"n{number}", f"192.0.2.{number + 1}", 65011, 65101, router_id="198.51.100.1",
                                  password_file=str(file)))  # fmt: skip
    text, _ = render(config(*neighbors), Paths(tmp_path))
    (tmp_path / "exabgp.conf").write_text(text)
    assert _read_back(tmp_path / "exabgp.conf")[: len(neighbors)] == [*HARD, '"' * 80]


def test_a_run_directory_with_odd_characters_is_read_back_as_it_is(tmp_path: Path) -> None:
    """Spaces, semicolons, braces, backslashes: the helper's command has the words that were meant."""
    folder = tmp_path / "a b;{c} #d\\e,é"
    folder.mkdir()
    text, _ = render(config(Neighbor("n", "192.0.2.1", 65011, 65101, router_id="198.51.100.1")), Paths(folder))
    (tmp_path / "exabgp.conf").write_text(text)
    assert _read_back(tmp_path / "exabgp.conf")[-2:] == [str(folder / "speaker.sock"), str(folder / "pipe.json")]


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=20))
def test_what_cannot_be_quoted_is_refused(text: str) -> None:
    """No string of ExaBGP's can hold a quote or a control character; the rest is one word between quotes."""
    try:
        word = quoted(text)
    except SpeakerError:
        assert '"' in text or "'" in text or not text.isprintable()
    else:
        assert word == '"' + text.replace("\\", "\\\\") + '"'


async def test_what_exabgp_would_refuse_is_named_and_no_secret_is(tmp_path: Path) -> None:
    """Its parser's own words, but not those of the line: one of them may be a password."""
    conf = config(Neighbor("n", "192.0.2.1", 65011, 65101, router_id="198.51.100.1"))
    good, _ = render(conf, Paths(tmp_path))
    trial_file = tmp_path / "exabgp.conf.trial"
    assert await trial.refusal(good, trial_file, environment(conf)) == ""
    bad = good.replace("hold-time 9;", "hold-time 9; md5-passwort hush;")
    why = await trial.refusal(bad, trial_file, environment(conf))
    assert "line" in why
    assert "hush" not in why
    too_long = good.replace("hold-time 9;", "hold-time 99999;")
    assert "65535" in await trial.refusal(too_long, trial_file, environment(conf))
    assert not trial_file.exists()


async def test_a_configuration_that_exabgp_would_refuse_does_not_replace_the_one_it_has(tmp_path: Path) -> None:
    """The session and the route stay, a withdrawal works, and the next good one is taken."""
    async with BgpPeer() as peer:
        conf = config(leaf(peer))
        agent = Agent(tmp_path)
        try:
            await agent.start(conf)
            await peer.until(lambda p: p.established)
            await agent.put(V4[0], attributes=Attributes("127.0.0.1"))
            await peer.has(V4[0])
            written = (tmp_path / "exabgp.conf").read_bytes()
            bad = replace(conf, neighbors={"leaf1": replace(conf.neighbors["leaf1"], hold_time=99999)})
            assert "65535" in await agent.client.try_out(bad)
            ended = await agent.ask(act.ConfigureSpeaker(10_000, bad, ()))
            assert isinstance(ended, ev.SpeakerConfigured)
            assert "65535" in (ended.error or "")
            assert (tmp_path / "exabgp.conf").read_bytes() == written
            await agent.drop(V4[0])
            await peer.has()
            await agent.configure(replace(conf, neighbors={"leaf1": replace(conf.neighbors["leaf1"], hold_time=12)}))
            await agent.put(V4[1], attributes=Attributes("127.0.0.1"))
            await peer.has(V4[1])
        finally:
            await agent.end()


@pytest.mark.parametrize("password", ['it"s', "it's", "a\\b"])
async def test_a_password_with_a_quote_is_used_on_the_session(tmp_path: Path, password: str) -> None:
    """The signature is that of the password as it stands in the file."""
    file = tmp_path / "password"
    file.write_text(password + "\n")
    file.chmod(0o600)
    async with BgpPeer(password=password) as peer:
        agent = Agent(tmp_path / "run")
        try:
            await agent.start(config(replace(leaf(peer), password_file=str(file))))
            await peer.until(lambda p: p.established)
        finally:
            await agent.end()
