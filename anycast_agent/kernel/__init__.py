"""Addresses, links and routes of the node, through netlink."""

from anycast_agent.kernel.adapter import Kernel

__all__ = ["Kernel"]
