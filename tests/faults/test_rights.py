"""Whoever takes over ExaBGP has ExaBGP's rights, and no others: attacks as its user on an agent that is root."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import site
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.support.agent import Agent, Scene, configuration, play
from tests.support.netns import needs_root

REPOSITORY = Path(__file__).parents[2]
_SYSTEM_PYTHON = Path("/usr/bin/python3")
_PACKAGES = next((p for p in site.getsitepackages() if p.endswith("site-packages")), "")


def _why_not() -> str:
    program = "import sys; print(sys.version_info[:2])"
    done = subprocess.run([_SYSTEM_PYTHON, "-c", program], capture_output=True, text=True, check=False)
    if done.stdout.strip() != str(sys.version_info[:2]):
        return f"needs /usr/bin/python3 to be of the version of this environment, {sys.version_info[:2]}"
    closed = [f for path in (REPOSITORY, Path(_PACKAGES)) for f in (path, *path.parents) if not f.stat().st_mode & 1]
    return f"another user cannot enter {closed[0]}" if closed else ""


pytestmark = [
    needs_root,
    pytest.mark.root,
    pytest.mark.timeout(120),
    pytest.mark.skipif(bool(_why_not()), reason=_why_not()),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where another user can enter."""
    path = Path(tempfile.mkdtemp(prefix="anycast-rights-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


class Attacker:
    """ExaBGP's user: its number, its group, no capability."""

    def __init__(self, s: Scene) -> None:
        status = Path(f"/proc/{s.agent.exabgp()}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        self.uid, self.gid = int(fields["Uid"].split()[0]), int(fields["Gid"].split()[0])
        assert self.uid != 0
        assert int(fields["CapPrm"], 16) == 0
        self.run = s.agent.folder / "run"

    def does(self, script: str, *words: str) -> bool:
        become = ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]
        done = subprocess.run(
            [*become, "sh", "-c", script, "sh", *words], cwd=self.run, capture_output=True, check=False
        )
        return done.returncode == 0


def attacked(folder: Path, story: Callable[[Scene, Attacker], Awaitable[None]]) -> None:
    """A root agent whose ExaBGP is another user, announcing."""

    async def whole(s: Scene) -> None:
        s.agent.kill()  # the one of this environment's Python, which only root can enter
        s.agent.python = str(_SYSTEM_PYTHON)
        s.agent.environment = {"PYTHONPATH": f"{REPOSITORY}:{_PACKAGES}"}
        s.agent.start()
        await s.announced()
        await s.agent.until(lambda status: status["life"] == "running")
        await story(s, Attacker(s))

    play(folder, whole)


def test_it_may_write_nothing_but_its_own_folder(folder: Path) -> None:
    """It reads its configuration and the pipe's settings; it changes, replaces and adds nothing; nobody else reads them."""

    async def story(s: Scene, attacker: Attacker) -> None:
        for name in ("exabgp.conf", "pipe.json"):
            assert attacker.does('cat "$1"', name)
            assert not attacker.does('echo x >> "$1"', name)
            assert not attacker.does('chmod 666 "$1"', name)
            assert not attacker.does('mv "$1" x', name)
            assert (attacker.run / name).stat().st_uid == 0
            attacker.gid += 1
            assert not attacker.does('cat "$1"', name)
            attacker.gid -= 1
        for name in ("exabgp.lock", "agent.lock"):
            assert not attacker.does('cat "$1"', name)
        assert not attacker.does("touch new")
        assert not attacker.does("mv speaker elsewhere")
        assert not attacker.does("ln -s /etc/shadow pipe.json.new")
        assert attacker.does("touch speaker/new")
        for other in (s.agent.folder, s.agent.folder / "state"):
            assert not attacker.does('touch "$1/new"', str(other))
        assert not attacker.does(
            "exec python3 -c 'import socket as s; s.socket(s.AF_UNIX).connect(\"../control.sock\")'"
        )

    attacked(folder, story)


@pytest.mark.parametrize("trap", ["a link to root's socket", "a fifo", "a file", "a folder"])
def test_what_it_puts_in_place_of_the_pipes_socket_is_not_followed(folder: Path, trap: str) -> None:
    """Root connects to nobody in its name; and once ExaBGP does not answer, another one is started."""

    async def story(s: Scene, attacker: Attacker) -> None:
        path = folder / "docker.sock"
        with socket.socket(socket.AF_UNIX) as victim:
            victim.bind(str(path))
            victim.listen()
            victim.setblocking(False)
            scripts = {
                "a link to root's socket": 'ln -s "$1" speaker/speaker.sock',
                "a fifo": "mkfifo speaker/speaker.sock",
                "a file": "echo x > speaker/speaker.sock",
                "a folder": "mkdir speaker/speaker.sock",
            }
            first, pipe = s.agent.exabgp(), s.agent.pipe()
            assert attacker.does('kill -STOP "$2" && kill -9 "$3" && rm speaker/speaker.sock && ' + scripts[trap],
                                 str(path), str(first), str(pipe))  # fmt: skip
            if trap == "a folder":  # which only a person can remove for it; here the attacker
                await s.agent.until(lambda status: status["speaker"]["state"] != "synced", 30)
                assert attacker.does("rmdir speaker/speaker.sock")
            async with asyncio.timeout(60):
                while not _another(s, first):
                    await asyncio.sleep(0.05)
            await s.announced(60)
            with pytest.raises(BlockingIOError):
                victim.accept()

    attacked(folder, story)


def _another(s: Scene, first: int) -> bool:
    try:
        return s.agent.exabgp() != first
    except LookupError:
        return False


def test_what_it_names_is_not_ended(folder: Path) -> None:
    """Root's process, named in every file that it can write, outlives a crash, a restart and a stop of the agent."""

    async def story(s: Scene, attacker: Attacker) -> None:
        victim = subprocess.Popen(["sleep", "600"], start_new_session=True)
        try:
            ticks = Path(f"/proc/{victim.pid}/stat").read_text().rpartition(")")[2].split()[19]
            s.agent.kill()
            os.kill(s.agent.exabgp(), signal.SIGKILL)
            for name in ("exabgp.pid", "speaker/exabgp.pid", "speaker/exabgp.lock"):
                attacker.does('echo "$2" > "$1"', name, f"{victim.pid} {ticks}")
            s.agent.start()
            await s.agent.until(lambda status: status["life"] == "running", 40)
            s.agent.kill(signal.SIGTERM)
            assert await s.agent.ends() == 0
            assert victim.poll() is None
        finally:
            victim.kill()

    attacked(folder, story)


@pytest.mark.parametrize("which", ["run_dir", "state_dir"])
def test_root_does_not_work_in_a_directory_of_another_user(folder: Path, which: str) -> None:
    """Owned by somebody else, writable for somebody else, or below such a one: refused, with what to do."""
    theirs = folder / "theirs"
    theirs.mkdir()
    os.chown(theirs, 4242, 4242)
    for path in (theirs, theirs / "below"):
        agent = Agent(folder)
        agent.write(configuration(folder, agent={which: str(path)}))
        agent.start()
        assert asyncio.run(agent.ends()) == 1
        assert f"{theirs} belongs to user 4242" in agent.log()
    os.chown(theirs, 0, 0)
    theirs.chmod(0o777)
    agent.start()
    assert asyncio.run(agent.ends()) == 1
    assert f"{theirs} may be written by other users" in agent.log()


def test_whoever_else_may_write_the_configuration_is_named(folder: Path) -> None:
    """The file is what root does: in a root agent, that is a warning on every surface, until it is mended."""

    async def story(s: Scene) -> None:
        await s.announced()
        os.chown(s.agent.config, 4242, 0)
        await s.agent.ask(verb="reload")
        status = await s.agent.until(lambda status: "configuration's rights" in status["warnings"])
        assert f"user 4242 may change {s.agent.config}" in status["warnings"]["configuration's rights"]
        os.chown(s.agent.config, 0, 0)
        await s.agent.ask(verb="reload")
        await s.agent.until(lambda status: "configuration's rights" not in status["warnings"])

    play(folder, story)


PROBED = """
agent: {{state_dir: {folder}/state}}
bgp: {{local_as: 65101, router_id: 198.51.100.1, neighbors: {{leaf: {{address: 198.51.100.0, remote_as: 65011}}}}}}
services:
  web:
    prefixes: [192.0.2.80/32]
    checks:
      rights: {{type: exec, command: [/bin/sh, -c, "{program}"]}}
"""


def probed(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    config = folder / "agent.yaml"
    config.write_text(PROBED.format(folder=folder, program=program))
    words = [_SYSTEM_PYTHON, "-P", "-m", "anycast_agent.cli.main", "probe", "web", "--config", config]
    environment = {"PYTHONPATH": f"{REPOSITORY}:{_PACKAGES}", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)


RIGHTS = "echo $(id -u) $(id -g) $(id -G) $(grep -hE '^(CapPrm|NoNewPrivs)' /proc/self/status); exit $(id -u)"


def test_root_probes_with_the_agents_rights(folder: Path) -> None:
    """A check that root could pass and the agent could not fails: the user, its groups, and no setuid program."""
    (folder / "state").mkdir()
    os.chown(folder / "state", 4242, 4243)
    done = probed(folder, RIGHTS)
    assert "4242 4243 4243 CapPrm: 0000000000000000 NoNewPrivs: 1" in done.stdout, done
    assert done.returncode == 1


def test_root_probes_as_root_where_the_agent_is_root_or_unknown(folder: Path) -> None:
    """And where it is not known, that is said."""
    unknown = probed(folder, RIGHTS)
    assert unknown.returncode == 0, unknown
    assert f"the checks run as root: whom the agent runs as is not known without {folder}/state" in unknown.stderr
    (folder / "state").mkdir()
    known = probed(folder, RIGHTS)
    assert (known.returncode, known.stderr) == (0, ""), known
