"""Adding and removing one address, and what to say where that fails."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pyroute2
from pyroute2.netlink.exceptions import NetlinkError

from anycast_agent.core.actions import AddAddress, RemoveAddress
from anycast_agent.kernel import netlink as nl

PATIENCE = 1.5
"""How long the kernel may take to answer a change. Seconds."""


class Changes:
    """One netlink socket for changes, opened when it is needed and again after it has failed."""

    def __init__(self) -> None:
        self._netlink: Any = None

    async def add(self, address: str, index: int, *, mark: bool) -> None:
        """Raises NetlinkError (EEXIST where it is there), OSError, TimeoutError."""
        values: dict[str, Any] = {"proto": nl.IFA_PROTO_OURS} if mark else {}
        if ":" in address:
            # No duplicate detection: every copy of an anycast address is one. Preferred 0: it is never the source
            # of the node's own traffic.
            values |= {"flags": nl.IFA_F_NODAD, "preferred": 0, "valid": 0xFFFFFFFF}
        await self._do("add", address, index, values)

    async def remove(self, address: str, index: int) -> None:
        """Raises NetlinkError (EADDRNOTAVAIL where it has gone), OSError, TimeoutError."""
        await self._do("del", address, index, {})

    async def _do(self, verb: str, address: str, index: int, values: dict[str, Any]) -> None:
        length = 128 if ":" in address else 32
        try:
            async with asyncio.timeout(PATIENCE):
                if self._netlink is None:
                    self._netlink = pyroute2.AsyncIPRoute()
                    await self._netlink.setup_endpoint()
                await self._netlink.addr(verb, index=index, address=address, prefixlen=length, **values)
        except NetlinkError:
            raise  # an answer: the socket is sound
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None


def code_of(problem: Exception) -> int | None:
    return problem.code if isinstance(problem, NetlinkError) else getattr(problem, "errno", None)


def explain(problem: Exception, action: AddAddress | RemoveAddress) -> str:
    code = code_of(problem)
    if isinstance(problem, TimeoutError):
        return f"the kernel did not answer within {PATIENCE} s"
    if isinstance(problem, NetlinkError):
        if code == errno.EPERM:
            return "not permitted: the agent needs CAP_NET_ADMIN, or node.addresses: verify"
        if code == errno.EACCES and ":" in action.address:
            return f"IPv6 is disabled here: sysctl -w net.ipv6.conf.{_dotless(action.interface)}.disable_ipv6=0"
        if code in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT) and ":" in action.address:
            return "this kernel runs without IPv6: boot it without ipv6.disable=1, or take the IPv6 prefix out"
    if code == errno.ENODEV:
        return f"there is no interface {action.interface}; see node.interface"
    return f"{errno.errorcode.get(code or 0, type(problem).__name__)} {problem}".strip()


def _dotless(interface: str) -> str:
    return interface.replace(".", "/")  # as sysctl(8) wants it
