"""What the pipe says, in order: to agents, to ExaBGP, to systemd and to people. Pure: the shell takes it and carries it
out."""

from __future__ import annotations

from collections.abc import Callable

from anycast_agent.speaker import wire
from anycast_agent.speaker.pipe.outputs import Output, Say, ToAgent


class Outbox:
    def __init__(self) -> None:
        self.current: int | None = None
        """The connection of the current agent; None: there is none."""
        self._outputs: list[Output] = []

    def put(self, output: Output) -> None:
        self._outputs.append(output)

    def take(self) -> list[Output]:
        """The outputs since the last call, in order."""
        outputs, self._outputs = self._outputs, []
        return outputs

    def tell(self, message: wire.ToAgent, connection: int | None = None) -> None:
        """To one connection, or to the current agent."""
        to = self.current if connection is None else connection
        if to is not None:
            self.put(ToAgent(to, message))

    def refuse(self, connection: int, number: int | None, why: str) -> None:
        self.tell(wire.Done(number, f"refused by the pipe: {why}"[:300]), connection)

    def answers(self, connection: int, number: int) -> Callable[[str | None], None]:
        """Answer that request with ExaBGP's error, or None."""
        return lambda error: self.tell(wire.Done(number, error), connection)

    def say(self, text: str) -> None:
        """For the log."""
        self.put(Say(text))
