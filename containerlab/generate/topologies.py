"""The other topology files: the same network with routers of other kinds. Namespaces run none of them; containerlab does."""

from __future__ import annotations

import re

from containerlab.generate.srlinux import port_name

WRITTEN = "# Written by containerlab/generate, from anycast.clab.yml: change that, or the generator.\n"

FRR_HEAD = """\
# The lab with routers of containerlab's own kind `frr` (in its releases after 0.79): it writes FRR's files from
# `startup-config` and `extras`, and `containerlab save` saves them. Its zebra has no --v6-rr-semantics (see README.md).
"""

FRR_GROUP = """\
    router:
      kind: frr
      image: ${ANYCAST_LAB_FRR:=quay.io/frrouting/frr:10.3.1}
      startup-config: config/${ANYCAST_LAB_VARIANT:=bfd}/__clabNodeName__/frr.conf
      extras:
        frr:
          daemons: [bgpd, bfdd]
      tmpfs: # the image has no folder for the log
        /var/log/frr: mode=1777
      binds:
        - router/settle:/lab/settle:ro
"""

VENDORS_HEAD = """\
# READ, NOT RUN. The lab with leaves of two vendors: SR Linux in ams, Arista cEOS in fra; the images, under these names, come from the
# vendors. The topology is valid for containerlab's schema; SR Linux's paths were checked against Nokia's published models,
# EOS's lines against Arista's published templates. Drills read the kernel's tables, which these leaves do not forward by.
"""

VENDORS_GROUPS = """\
    srlinux: # on the management network, in a network instance of its own
      kind: nokia_srlinux
      type: ixr-d2l
      image: ${ANYCAST_LAB_SRLINUX:=srlinux:25.3.1}
      startup-config: config/${ANYCAST_LAB_VARIANT:=bfd}/__clabNodeName__/srlinux.cli
    eos: # on the management network, in a VRF of its own
      kind: arista_ceos
      image: ${ANYCAST_LAB_EOS:=ceos:4.34.2F}
      env:
        CLAB_MGMT_VRF: MGMT
      startup-config: config/${ANYCAST_LAB_VARIANT:=bfd}/__clabNodeName__/eos.cfg
"""


def frr_kind(text: str) -> str:
    """Of the main file, with another group `router`: its exec and its health check stay."""
    text = _headed(text, FRR_HEAD, "anycast-frr")
    begin, end = text.index("    router:\n"), text.index("      exec:\n        - sh /lab/settle\n")
    return text[:begin] + FRR_GROUP + text[end:]


def vendors(text: str) -> str:
    """Of the main file, with leaves of two vendors, and what is for Linux under that kind alone."""
    text = _headed(text, VENDORS_HEAD, "anycast-vendors").replace("mgmt:\n  skip-when-unused: true\n\n", "")
    text = text.replace("# Nobody is on it (see network-mode): so it is not made.\n", "")
    begin, end = text.index("    # No management network"), text.index("  groups:\n")
    labels = "    labels:\n      lab-variant: ${ANYCAST_LAB_VARIANT:=bfd}\n"
    of_linux = text[begin:end].replace(labels, "")
    indented = "".join(f"  {line}\n" if line else "\n" for line in of_linux.splitlines())
    text = f"{text[:begin]}{labels}\n  kinds:\n    linux:\n{indented}{text[end:]}"
    text = text.replace("    edge:\n", f"{VENDORS_GROUPS}    edge:\n")
    text = re.sub(r"( ams-leaf\d: \{group: )router", r"\1srlinux", text)
    text = re.sub(r"( fra-leaf\d: \{group: )router", r"\1eos", text)
    return re.sub(r'"(ams-leaf\d):(eth\d)"', lambda m: f'"{m[1]}:{_in_topology(m[2])}"', text)


def _in_topology(interface: str) -> str:
    """ethernet-1/1 is e1-1 in a topology file."""
    return port_name(interface).replace("ethernet-", "e").replace("/", "-")


def _headed(text: str, head: str, name: str) -> str:
    body = text[text.index("name: anycast\n") :].replace("name: anycast\n", f"name: {name}\n", 1)
    return f"{head}{WRITTEN}{body}"
