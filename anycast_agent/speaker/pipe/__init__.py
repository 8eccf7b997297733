"""ExaBGP's only API process, between ExaBGP (stdin, stdout) and the agent (a unix socket).

It holds the ledger of our routes, and is the dead-man's switch: without a heartbeat of the agent it carries out the
will of each route. It needs only the standard library, never blocks on either side, and is meant to be read in full:

- ``switchboard``: every decision. Lines and messages in, lines and messages out, time as an argument. It stands on
  ``ledger`` (whose routes, and until when), ``exchange`` (one command with ExaBGP at a time), ``flow`` (what ExaBGP
  can have sent), ``peers`` (which neighbors it has), ``refusals`` (withdrawals that it refuses), ``own_address`` and
  ``codec`` (ExaBGP's text).
- ``shell``: sockets, selectors, signals and systemd. It decides nothing.

The messages between agent and pipe are ``anycast_agent.speaker.wire``. ExaBGP runs this as
``python -m anycast_agent.speaker.pipe SOCKET SETTINGS``.
"""
