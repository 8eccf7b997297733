"""The reader of rtnetlink is taken out of pyroute2, and the rest of it is left alone."""

from __future__ import annotations

import subprocess
import sys

READ = """
import sys
from anycast_agent.kernel import netlink
for request, body in ((netlink.RTM_GETLINK, 16), (netlink.RTM_GETADDR, 8), (netlink.RTM_GETROUTE, 12)):
    read = [netlink.parse(message) for message in netlink.dump(request, bytes(body))]
    assert request != netlink.RTM_GETLINK or "lo" in [link.get_attr("IFLA_IFNAME") for link in read]
print([name for name in sys.modules if name.startswith("pyroute2")])
import pyroute2
with pyroute2.IPRoute() as whole:
    print("lo" in [link.get_attr("IFLA_IFNAME") for link in whole.get_links()], pyroute2.netlink.__name__)
"""


def test_messages_are_read_without_all_of_pyroute2_and_others_can_have_it() -> None:
    """The kernel's own messages; then a check of another package imports pyroute2."""
    done = subprocess.run([sys.executable, "-c", READ], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "True pyroute2.netlink"]
