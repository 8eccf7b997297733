"""Local consumers of a prefix that this node does not announce, sent to another replica.

A packet that this node itself sends to an anycast address stays on the node, whatever the routers say: the kernel looks
into table ``local`` first. While a prefix is **aside**, policy rules of ours come before that look-up, for this node's
own packets only. The address, its listeners, bind(2), the agent's probes and packets from the network are not touched,
and no entry of table ``local`` is ever deleted: IPv4's bind(2) reads that table itself.

rules     encodes and reads policy rules, and the routes of our table
steps     brings an address to a state by rules, in an order without a gap, and reads the state back
adapter   asyncio: actions in, what the kernel has out
"""
