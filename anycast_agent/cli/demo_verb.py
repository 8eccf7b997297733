"""``demo``: the main job done for real, in a minute, without root and without a router.

A small HTTP and DNS service, the agent with its ExaBGP, and a second ExaBGP as the router. Where the kernel allows it,
all of it runs in a user and network namespace of its own: addresses really go on ``lo``, and the host is not touched.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

API = "127.0.0.1:9179"
V4, V6 = "192.0.2.53/32", "2001:db8:53::53/128"
STEP_WITHIN = 15.0
_UNSHARE = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]

EXIT_KILLED = 128 + signal.SIGKILL
"""It did not end within two seconds and was killed: the exit code of SIGKILL in a shell."""


def add_verbs(subparsers: Any) -> None:
    verb = subparsers.add_parser("demo", description=demo.__doc__)
    verb.add_argument("--once", action="store_true", help="run it through and end; exit 1 if a step did not happen")
    verb.add_argument("--listen", default=API, metavar="ADDRESS:PORT", help=f"for the status page ({API})")
    verb.add_argument("--inside", type=int, metavar="FD", help=argparse.SUPPRESS)
    verb.add_argument("--outside", type=int, metavar="FD", help=argparse.SUPPRESS)
    verb.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    verb.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    verb.set_defaults(func=demo)


def demo(args: argparse.Namespace) -> int:
    """Up, announced in both families, the service fails, withdrawn, back: a timeline in milliseconds. Then it stays;
    Ctrl-C ends everything. Exit 1: a step did not happen, or the port for the status page is taken."""
    if args.inside is not None:
        inside = _Demo(args.inside, args.outside, args.folder, once=args.once, isolated=not args.here)
        return asyncio.run(inside.run())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # not below nohup
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        listener = _listen(args.listen)
    except OSError as error:
        print(f"demo: {args.listen}: {error.strerror}; --listen names another port", file=sys.stderr)
        return 1
    # Made and removed by the outer process, so that nothing is left, whatever happens inside.
    with listener, tempfile.TemporaryDirectory(prefix="anycast-demo-", ignore_cleanup_errors=True) as folder:
        isolate, why = _isolation()
        if not isolate:
            print(f"No network namespace can be made here ({why}): the demo runs on the host's loopback,\n"
                  "and its addresses are not put on it (node.addresses: unmanaged).", flush=True)  # fmt: skip
        theirs, ours = os.pipe()
        words = [*isolate, sys.executable, "-P", "-m", "anycast_agent.cli.main", "demo"]
        words += ["--inside", str(listener.fileno()), "--outside", str(theirs), "--folder", folder]
        words += ["--once"] * args.once + ["--here"] * (not isolate)
        return _watch(words, ours, theirs, listener.fileno(), isolated=bool(isolate))


def _listen(where: str) -> socket.socket:
    """Raises OSError, also for a text that is not ADDRESS:PORT."""
    host, _, port = where.rpartition(":")
    host = host.strip("[]")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise OSError(errno.EINVAL, "write an address and a port, like 127.0.0.1:9179")
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, int(port)))
        sock.listen(64)
    except OSError:
        sock.close()
        raise
    return sock


def _isolation() -> tuple[list[str], str]:
    """The command that makes the namespaces; none, and why, where that cannot be done."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return [], "there is no unshare, or no ip"
    words = _UNSHARE if os.geteuid() == 0 else [*_UNSHARE, "--user", "--map-root-user"]
    try_it = [*words, "ip", "link", "set", "lo", "up"]
    tried = subprocess.run(try_it, capture_output=True, check=False, timeout=10, text=True)
    why = tried.stderr.strip().removeprefix("unshare: ")
    why = why.replace(os.strerror(errno.ENOSPC), "no more of them are allowed, see sysctl user")  # unshare(2)
    return (words, "") if tried.returncode == 0 else ([], why)


def _watch(words: list[str], ours: int, theirs: int, listener: int, *, isolated: bool) -> int:
    """Wait for the demo; after Ctrl-C, SIGTERM or a terminal that has gone, it has two seconds.

    It has a session of its own and hears of the end by one way only, the pipe: also of one that nobody can announce.
    """
    inside = subprocess.Popen(words, pass_fds=[listener, theirs], start_new_session=True)
    os.close(theirs)
    try:
        return inside.wait()
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.close(ours)
        with contextlib.suppress(subprocess.TimeoutExpired):
            # Killed, it takes what runs in its namespace along. On loopback it has to end that itself, and does.
            return inside.wait(timeout=1.7 if isolated else 10.0)
        inside.kill()
        inside.wait()
        return EXIT_KILLED


# --- inside -------------------------------------------------------------------------------------------------


class StepError(Exception):
    """A step of the demo did not happen."""


class _Demo:
    def __init__(self, listener: int, outside: int, folder: Path, *, once: bool, isolated: bool) -> None:
        self._listener = listener
        self._outside = outside
        self._once = once
        self._isolated = isolated
        host, port = socket.socket(fileno=os.dup(listener)).getsockname()[:2]
        self._page = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
        self._dir = folder
        self._began = time.monotonic()
        self._table: set[str] = set()
        self._news = asyncio.Event()
        self._session = False
        self._failing = False
        self._processes: list[asyncio.subprocess.Process] = []
        self._servers: list[Any] = []
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_reader(self._outside, self._outside_ends)
        story = asyncio.create_task(self._story())
        stop = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({story, stop}, return_when=asyncio.FIRST_COMPLETED)
            if story.done():
                story.result()
            return 0
        except StepError as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
        finally:
            story.cancel()
            stop.cancel()
            await self._end()
            shutil.rmtree(self._dir, ignore_errors=True)  # who made it may have been killed

    def _outside_ends(self) -> None:
        asyncio.get_running_loop().remove_reader(self._outside)
        self._stopping.set()

    async def _story(self) -> None:
        if self._isolated:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)  # noqa: ASYNC221, S607
        ports = await self._start_service()
        await self._start_router(ports["bgp"])
        self._began = time.monotonic()
        self._say("the agent starts")
        await self._start_agent(ports)
        await self._step("BGP session with the router is up", lambda: self._session)
        await self._step(f"announced at the router: {V4} and {V6}", lambda: self._table == {V4, V6})
        await asyncio.sleep(1.0)
        failed = self._mark("the service fails: its health page answers 500")
        self._failing = True
        await self._step("withdrawn at the router, both families", lambda: not self._table, failed)
        await asyncio.sleep(1.0)
        back = self._mark("the service is well again")
        self._failing = False
        await self._step("announced again, both families", lambda: self._table == {V4, V6}, back)
        if not self._once:
            tool = Path(sys.executable).with_name("anycast-agent")
            tool = tool.relative_to(Path.cwd()) if tool.is_relative_to(Path.cwd()) else tool
            print(f"\nThe status page: {self._page}\n"
                  f"In words: {tool} why {V4.partition('/')[0]} --socket {self._dir}/control.sock\n"
                  "Ctrl-C ends everything.", flush=True)  # fmt: skip
            await asyncio.Event().wait()

    # --- the timeline ---

    def _say(self, text: str, since: float | None = None) -> None:
        now = time.monotonic()
        after = "" if since is None else f"  ({(now - since) * 1000:.0f} ms later)"
        print(f"{(now - self._began) * 1000:8.0f} ms  {text}{after}", flush=True)

    def _mark(self, text: str) -> float:
        self._say(text)
        return time.monotonic()

    async def _step(self, text: str, condition: Callable[[], bool], since: float | None = None) -> None:
        try:
            async with asyncio.timeout(STEP_WITHIN):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            log = (self._dir / "agent.log").read_text()[-2000:]
            raise StepError(f"did not happen within {STEP_WITHIN:g} s: {text}\n{log}") from None
        self._say(text, since)

    # --- the service ---

    async def _start_service(self) -> dict[str, int]:
        from aiohttp import web

        async def health(_: web.Request) -> web.Response:
            return web.Response(status=500 if self._failing else 200, text="ok")

        app = web.Application()
        app.add_routes([web.get("/health", health)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._servers.append(runner)
        host = None if self._isolated else "127.0.0.1"
        wanted = (
            {"http": 80, "dns": 53, "bgp": 1179} if self._isolated else {k: _free() for k in ("http", "dns", "bgp")}
        )
        await web.TCPSite(runner, host, wanted["http"]).start()
        loop = asyncio.get_running_loop()
        for address in ("0.0.0.0", "::") if self._isolated else ("127.0.0.1",):  # noqa: S104  # its own namespace
            sock = _udp(address, wanted["dns"])
            transport, _ = await loop.create_datagram_endpoint(_Dns, sock=sock)
            self._servers.append(transport)
        return wanted

    # --- the router ---

    async def _start_router(self, port: int) -> None:
        from anycast_agent import holding
        from anycast_agent.speaker.process import user_name

        path = self._dir / "router.sock"
        self._servers.append(await asyncio.start_unix_server(self._listen_to_router, str(path), limit=1 << 20))
        conf = self._dir / "router.conf"
        conf.write_text(
            f"process demo {{ run {sys.executable} -m anycast_agent.cli.demo_router {path}; encoder json; }}\n"
            "neighbor 127.0.0.1 { router-id 198.51.100.2; local-address 127.0.0.2; local-as 65011; peer-as 65101;\n"
            f"  hold-time 9; passive true; listen {port}; family {{ ipv4 unicast; ipv6 unicast; }}\n"
            "  api { processes [ demo ]; neighbor-changes; receive { parsed; update; } } }\n"
        )
        env = {**os.environ, "exabgp_log_level": "WARNING", "exabgp_daemon_user": user_name(),
               "exabgp_api_cli": "false", "exabgp_tcp_bind": "127.0.0.2", "exabgp_tcp_port": str(port),
               "exabgp_reactor_speed": "0.1"}  # fmt: skip
        lock = holding.open_file(self._dir / "router.lock", make=True)
        try:
            words = [sys.executable, "-P", "-m", "anycast_agent.speaker.launch", str(conf), str(lock)]
            await self._spawn(words, "router.log", env=env, pass_fds=[lock])
        finally:
            os.close(lock)

    async def _listen_to_router(self, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        from anycast_agent.speaker.pipe import codec

        while line := await reader.readline():
            if not line.startswith(b"{"):
                continue
            for event in codec.parse_event(line.decode("utf-8", "replace")):
                if isinstance(event, codec.SessionEvent):
                    self._session = event.state == "up"
                    if event.state == "down":
                        self._table.clear()
                elif isinstance(event, codec.ReceivedPath):
                    (self._table.discard if event.as_path is None else self._table.add)(event.prefix)
            self._news.set()

    # --- the agent ---

    async def _start_agent(self, ports: dict[str, int]) -> None:
        conf = self._dir / "agent.yaml"
        conf.write_text(self._configuration(ports))
        words = [sys.executable, "-P", "-m", "anycast_agent.cli.main", "run", "--config", str(conf),
                 "--api-fd", str(self._listener)]  # fmt: skip
        await self._spawn(words, "agent.log", pass_fds=[self._listener])

    def _configuration(self, ports: dict[str, int]) -> str:
        web = (
            f"port: {ports['http']}, path: /health"
            if self._isolated
            else f"url: 'http://127.0.0.1:{ports['http']}/health'"
        )
        dns = f"port: {ports['dns']}" + ("" if self._isolated else ", server: 127.0.0.1")
        addresses = "manage" if self._isolated else "unmanaged"
        return (
            f"node: {{name: demo, site: here, addresses: {addresses}, return_route: off}}\n"
            f"agent: {{run_dir: {self._dir}/run, state_dir: {self._dir}/state, "
            f"control_socket: {self._dir}/control.sock, stop_within: 5s}}\n"
            "bgp:\n  local_as: 65101\n  router_id: 198.51.100.1\n  neighbors:\n"
            f"    router: {{address: 127.0.0.2, local_address: 127.0.0.1, remote_as: 65011, port: {ports['bgp']}, "
            "families: [ipv4, ipv6]}\n"
            f"services:\n  demo:\n    prefixes: [{V4}, '{V6}']\n"
            "    attributes: {next_hop: [127.0.0.1, '2001:db8::1']}\n    linger: 200ms\n"
            "    hold_down: {initial: 500ms}\n"
            f"    checks:\n      page: {{type: http, {web}, interval: 1s}}\n"
            f"      answers: {{type: dns, name: example.org, {dns}, interval: 1s}}\n"
        )

    # --- processes ---

    async def _spawn(self, words: list[str], log: str, **options: Any) -> None:
        with (self._dir / log).open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True, **options
            )
        self._processes.append(process)

    async def _end(self) -> None:
        """End the agent first: it withdraws. A process that does not end in time is killed."""
        for process in reversed(self._processes):
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        waiting = [asyncio.create_task(process.wait()) for process in self._processes]
        if waiting:
            # What is killed in the namespace takes all along with it; on loopback, the agent has to end its ExaBGP.
            await asyncio.wait(waiting, timeout=1.4 if self._isolated else 9.0)
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for server in self._servers:
            if hasattr(server, "cleanup"):
                await server.cleanup()
            else:
                server.close()


class _Dns(asyncio.DatagramProtocol):
    """Answers every question for an address with the same one."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        import dns.exception
        import dns.message
        import dns.rrset

        try:
            query = dns.message.from_wire(data)
        except dns.exception.DNSException:
            return  # not a question: a name server says nothing to it
        answer = dns.message.make_response(query)
        answer.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "198.51.100.80"))
        self._transport.sendto(answer.to_wire(), addr)


def _udp(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((address, port))
    return sock


def _free() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
