"""Files that are broken when an agent starts, or is about to hand over to one: a good configuration stays in force."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.support.agent import V4, V6, Agent, Scene, configuration, play, reason_in
from tests.support.netns import needs_root
from tests.support.until import until

pytestmark = [needs_root, pytest.mark.root, pytest.mark.timeout(120)]

PATIENT = {"dead_man": "30s", "adopt_for": "30s"}


def kept(s: Scene) -> Path:
    return s.agent.folder / "state" / "last-good.json"


async def until_kept(s: Scene) -> None:
    await s.announced()
    await until(kept(s).exists)


async def metric(name: str) -> float:
    text = await asyncio.to_thread(lambda: urllib.request.urlopen("http://127.0.0.1:9179/metrics").read().decode())
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def broken(s: Scene, how: str) -> None:
    if how == "a key":
        s.agent.config.write_text(s.agent.config.read_text().replace('"services"', '"servces"'))
    elif how == "no YAML":
        s.agent.config.write_text(s.agent.config.read_text()[:-20] + "{{{")
    elif how == "missing":
        s.agent.config.unlink()
    else:
        (s.agent.folder / "conf.d").mkdir()
        (s.agent.folder / "conf.d" / "new.yaml").write_text("services: {web: nonsense}")


@pytest.mark.parametrize(
    ("number", "how"),
    [(signal.SIGUSR2, "a key"), (signal.SIGUSR2, "no YAML"), (signal.SIGKILL, "conf.d"), (signal.SIGKILL, "a key")],
)
def test_a_restart_with_broken_files_goes_on_with_what_was_in_force(
    tmp_path: Path, number: signal.Signals, how: str
) -> None:
    """Not one UPDATE; said on every surface; and a mended file is taken at the next reload."""

    async def story(s: Scene) -> None:
        await until_kept(s)
        good, updates = s.agent.config.read_text(), len(s.peer.updates)
        broken(s, how)
        s.agent.kill(number)
        await s.agent.ends()
        s.agent.start()
        status = await s.agent.until(lambda st: {reason_in(st, V4), reason_in(st, V6)} == {"healthy"}, 40)
        assert "started with what was in force last" in status["warnings"]["configuration files"]
        assert status["configuration"]["errors"]
        assert await metric("anycast_config_last_reload_successful") == 0
        assert "configuration files: broken" in s.agent.log()
        assert len(s.peer.updates) == updates
        s.agent.config.write_text(good)
        if how == "conf.d":
            (s.agent.folder / "conf.d" / "new.yaml").unlink()
        assert (await s.agent.ask(verb="reload"))["ok"]
        status = await s.agent.status()
        assert "configuration files" not in status["warnings"]
        assert not status["configuration"]["errors"]
        assert len(s.peer.updates) == updates

    play(tmp_path, story, configuration(tmp_path, agent=PATIENT))


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGKILL])
def test_a_restart_with_what_exabgp_would_refuse_goes_on_with_what_was_in_force(
    tmp_path: Path, number: signal.Signals
) -> None:
    """A valid file with a path that ExaBGP cannot read: the next agent would have no ExaBGP, and no route."""

    async def story(s: Scene) -> None:
        await until_kept(s)
        updates = len(s.peer.updates)
        s.agent.write(configuration(tmp_path, agent={**PATIENT, "run_dir": f"{tmp_path}/it's"}))
        s.agent.kill(number)
        await s.agent.ends()
        s.agent.start()
        status = await s.agent.until(lambda st: {reason_in(st, V4), reason_in(st, V6)} == {"healthy"}, 40)
        assert "ExaBGP would refuse this" in status["warnings"]["configuration files"]
        assert len(s.peer.updates) == updates

    play(tmp_path, story, configuration(tmp_path, agent=PATIENT))


def test_a_person_is_refused_a_hand_over_with_broken_files(tmp_path: Path) -> None:
    """The verb: what is wrong is said, and the agent runs on."""

    async def story(s: Scene) -> None:
        await until_kept(s)
        broken(s, "a key")
        answer = await s.agent.ask(verb="handover", **{"for": 60})
        assert not answer["ok"]
        assert answer["lines"][0] == "nothing was done: the next agent could not start from the files"
        assert "servces" in answer["lines"][1]
        assert (await s.agent.status())["life"] == "running"

    play(tmp_path, story)


def test_a_hand_over_that_nobody_could_take_is_refused(tmp_path: Path) -> None:
    """SIGUSR2 with broken files, and a full disk kept the record from being written: the agent runs on."""
    state = tmp_path / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=755", "tmpfs", state], check=True)
    with pytest.raises(OSError, match="No space"):
        (state / "fill").write_bytes(b"x" * 8192)

    async def story(s: Scene) -> None:
        await s.announced()
        status = await s.agent.until(lambda st: "last good configuration" in st["warnings"])
        assert "No space left" in status["warnings"]["last good configuration"]
        broken(s, "a key")
        s.agent.kill(signal.SIGUSR2)
        status = await s.agent.until(lambda st: "hand-over" in st["warnings"])
        assert "not handed over: the next agent could not start" in status["warnings"]["hand-over"]
        assert status["life"] == "running"

    try:
        play(tmp_path, story)
    finally:
        subprocess.run(["umount", "-l", state], check=True)


def ended(agent: Agent) -> int:
    agent.start()
    return asyncio.run(agent.ends())


def test_without_anything_good_it_ends_and_says_which_it_is(tmp_path: Path) -> None:
    """2 where the files are wrong, for which no new start helps; 1 where they are not there, which may pass."""
    agent = Agent(tmp_path)
    assert ended(agent) == 1
    agent.config.write_text("nonsense: 1")
    assert ended(agent) == 2
    assert "unknown key 'nonsense'" in agent.log()


def test_a_record_that_another_user_could_have_written_is_not_believed(tmp_path: Path) -> None:
    """It names programs to run. Nor is one that is broken, or of another configuration."""

    async def story(s: Scene) -> None:
        await until_kept(s)
        assert kept(s).stat().st_mode & 0o777 == 0o600
        s.agent.kill()
        broken(s, "a key")
        record = kept(s).read_text()
        for spoil, why in (
            (lambda: os.chown(kept(s), 4242, 0), "is not trusted: user 4242 could have written it"),
            (lambda: kept(s).chmod(0o666), "is not trusted"),
            (lambda: kept(s).parent.chmod(0o777), "may be written by other users"),
            (lambda: kept(s).write_text(record[:-9]), "is of no use"),
            (lambda: kept(s).write_text(record.replace("agent.yaml", "other.yaml")), "not the configuration"),
        ):
            kept(s).unlink()
            kept(s).parent.chmod(0o755)
            kept(s).write_text(record)
            kept(s).chmod(0o600)
            spoil()
            said = len(s.agent.log())
            s.agent.start()
            assert await s.agent.ends() == 2
            assert why in s.agent.log()[said:]

    play(tmp_path, story)


def test_a_record_is_of_what_was_in_force(tmp_path: Path) -> None:
    """Files that were refused are never in it; those of the next good reload are."""

    async def story(s: Scene) -> None:
        await until_kept(s)
        values = configuration(tmp_path)
        broken(s, "a key")
        await s.agent.ask(verb="reload")
        assert "servces" not in kept(s).read_text()
        values["services"]["web"]["linger"] = "321ms"
        s.agent.write(values)
        await s.agent.ask(verb="reload")
        async with asyncio.timeout(20):
            while "321ms" not in kept(s).read_text():
                await asyncio.sleep(0.02)
        files = json.loads(kept(s).read_text())["files"]
        assert list(files) == [str(s.agent.config)]

    play(tmp_path, story)
