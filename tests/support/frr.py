"""FRR's zebra and bgpd in a namespace, with a folder of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

DAEMONS = Path("/usr/lib/frr")
ENDS_WITHIN = 10.0


class Frr:
    def __init__(self, namespace: str, folder: Path) -> None:
        self.namespace, self.folder = namespace, folder

    def asked(self, *commands: str) -> str:
        """What ``vtysh`` prints."""
        words = ["ip", "netns", "exec", self.namespace, "vtysh", "--vty_socket", str(self.folder)]
        words += [word for command in commands for word in ("-c", command)]
        return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False).stdout

    def json(self, command: str) -> dict[str, Any]:
        """Empty while bgpd does not answer yet."""
        try:
            found = json.loads(self.asked(f"{command} json") or "{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def prefixes(self) -> set[str]:
        """Those that it selected, of both families."""
        return {p for f in ("ipv4", "ipv6") for p in self.json(f"show bgp {f} unicast").get("routes", {})}


@contextmanager
def frr(namespace: str, bgpd: str, zebra: str = "") -> Iterator[Frr]:
    """``bgpd`` and ``zebra``: their configurations. FRR's own user cannot read pytest's folders, so it has one beside them."""
    with TemporaryDirectory(prefix="aa-frr-") as folder, _running(namespace, Path(folder), bgpd, zebra) as found:
        yield found


@contextmanager
def _running(namespace: str, folder: Path, bgpd: str, zebra: str) -> Iterator[Frr]:
    for name, text in (("zebra", zebra), ("bgpd", f"frr defaults datacenter\n{bgpd}")):
        (folder / f"{name}.conf").write_text(text)
    for path in (folder, *folder.iterdir()):
        shutil.chown(path, "frr", "frr")
    with ExitStack() as stack:
        for name in ("zebra", "bgpd"):
            words = ["ip", "netns", "exec", namespace, str(DAEMONS / name), "-u", "frr", "-g", "frr"]
            words += ["-z", f"{folder}/zserv", "--vty_socket", str(folder), "-i", f"{folder}/{name}.pid"]
            words += ["-f", f"{folder}/{name}.conf", "--log", f"file:{folder}/{name}.log"]
            process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(_end, process)
        yield Frr(namespace, folder)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, 9)
        process.wait()
