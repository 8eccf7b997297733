"""A Docker engine of the tests' own, and a lab on it as containerlab would have deployed it.

The containers have containerlab's names and labels and the topology's commands, binds, sysctls and health checks; their links
are veth pairs. Their files are this machine's: no image has to be had. What containerlab does by itself is not proven by this.
"""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.net import links, topology
from lab.net.cgroups import Cell, of_process
from lab.net.containers.engine import LAB, NODE, TOPOLOGY
from lab.net.node import Node

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[2]
IMAGE = "anycast-lab/host"
STARTS_WITHIN = 60.0
SHOWN = [*dict.fromkeys(("/usr", str(REPO), sys.prefix, sys.base_prefix))]
"""This machine's files that each container sees, read-only."""


class Engine:
    """A daemon with its data in a folder: no bridge, no firewall, nothing of a daemon that runs here already."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/docker.sock"
        runc = folder / "runc"
        runc.write_text(f'#!/bin/sh\nexec {sys.executable} -I {HERE}/runc.py "$@"\n')
        runc.chmod(0o755)
        self.log = (folder / "log").open("w")
        self._process = subprocess.Popen(
            ["dockerd", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid",
             "--host", self.host, "--iptables=false", "--ip6tables=false", "--bridge=none",
             "--add-runtime", f"within-bounds={runc}", "--default-runtime", "within-bounds"],
            stdout=self.log, stderr=self.log, env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
        )  # fmt: skip
        deadline = time.monotonic() + STARTS_WITHIN
        while subprocess.run(self.words("version"), capture_output=True).returncode != 0:
            assert self._process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(0.1)

    def words(self, *words: str) -> list[str]:
        return ["docker", "--host", self.host, *words]

    def docker(self, *words: str, stdin: bytes | None = None) -> str:
        done = subprocess.run(self.words(*words), input=stdin, capture_output=True, timeout=120)
        assert done.returncode == 0, f"docker {words[0]}: {done.stderr.decode()}"
        return done.stdout.decode().strip()

    def stop(self) -> None:
        """Containers, daemon, mounts: nothing is left but the folder, which is the caller's."""
        if ids := self.docker("ps", "--all", "--quiet").split():
            self.docker("rm", "--force", *ids)
        self._process.terminate()
        self._process.wait(60)
        self.log.close()
        below = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for mount in sorted((path for path in below if path.startswith(f"{self.folder}/")), reverse=True):
            subprocess.run(["umount", mount], check=True)

    def make_image(self) -> None:
        """/etc as it is here, with the usual links and empty folders; /usr is bound into each container."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.add("/etc", "etc")
            for name in ("bin", "sbin", "lib", "lib64"):
                if Path("/", name).is_symlink():
                    tar.add(f"/{name}", name, recursive=False)
            for name in ("usr", "dev", "proc", "sys", "tmp", "run", "root", "var", "var/log", "var/lib", "var/tmp"):
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name.endswith("tmp") else 0o755
                tar.addfile(entry)
            entry = tarfile.TarInfo("var/run")
            entry.type, entry.linkname = tarfile.SYMTYPE, "/run"
            tar.addfile(entry)
        self.docker("import", "-", IMAGE, stdin=packed.getvalue())

    def run(self, lab: str, top: topology.Topology, node: topology.Node) -> None:
        binds = [f"{source}:{target}{':ro' if read_only else ''}" for source, target, read_only in node.binds]
        labels = {**node.labels, LAB: lab, NODE: node.name, TOPOLOGY: str(top.path), "clab-node-kind": node.kind}
        path = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        words = [f"--volume={path}:{path}:ro" for path in SHOWN]
        words += [f"--volume={bind}" for bind in binds]
        words += [f"--label={key}={value}" for key, value in labels.items()]
        words += [f"--sysctl={key}={value}" for key, value in node.sysctls.items()]
        words += [f"--env={key}={value}" for key, value in {"PATH": path, **node.env}.items()]
        if check := node.healthcheck:
            words += [f"--health-cmd={shlex.join(check.command)}", f"--health-interval={check.interval}s",
                      f"--health-timeout={check.timeout}s", f"--health-retries={check.retries}",
                      f"--health-start-period={check.start_period}s"]  # fmt: skip
        self.docker(
            "run", "--detach", "--privileged", "--network=none", f"--name=clab-{lab}-{node.name}",
            f"--hostname={node.name}", *words, IMAGE, *shlex.split(node.cmd),
        )  # fmt: skip


class Plugged(Node):
    """A container as far as its links need it."""

    def __init__(self, spec: topology.Node, pid: int) -> None:
        super().__init__(spec)
        self.keeper = self.init = pid
        self._group = of_process(pid)

    @property
    def group(self) -> Cell:
        return self._group

    def environment(self) -> dict[str, str]:
        return {}

    def health(self) -> str:
        return ""


def deploy(engine: Engine, lab: str, top: topology.Topology) -> None:
    """As containerlab does it: containers, links between them, then each node's commands."""
    for node in top.nodes.values():
        engine.run(lab, top, node)
    names = [f"clab-{lab}-{name}" for name in top.nodes]
    pids = engine.docker("inspect", "--format", "{{.State.Pid}}", *names).split()
    nodes = {spec.name: Plugged(spec, int(pid)) for spec, pid in zip(top.nodes.values(), pids, strict=True)}
    links.plug_in(top.links, nodes)
    for name, node in top.nodes.items():
        for command in node.exec:
            engine.docker("exec", f"clab-{lab}-{name}", *shlex.split(command))


@contextmanager
def running(folder: Path) -> Iterator[Engine]:
    engine = Engine(folder)
    try:
        engine.make_image()
        yield engine
    finally:
        engine.stop()
