"""The check of an exercise of containerlab/README.md: a file that says how to see that the exercise worked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import Field, model_validator

from anycast_agent.checks.durations import written_duration
from anycast_agent.config.problems import ConfigError, Problem, did_you_mean
from anycast_agent.config.source import Where
from lab import documents
from lab.documents import Document
from lab.drills.conduct import Conductor
from lab.drills.drill import Drill
from lab.drills.expect import AnsweredBy, Seconds
from lab.drills.expectations import answered_by
from lab.drills.result import Expectation
from lab.drills.says import Says, ask
from lab.drills.scene import Expected, Scene
from lab.net.lab import Lab
from lab.net.topology import Topology

ASKED = 1.0
"""Who answers is judged by the requests of this time, after the tables were as expected. Seconds."""


class Exercise(Document):
    title: str = Field(max_length=100)
    within: Seconds = 30.0
    """Time limit for the tables to become as expected."""
    tables: Expected = Field(default_factory=dict)
    steady: bool = False
    """Every table is as it is while nothing is wrong."""
    answered_by: tuple[AnsweredBy, ...] = ()
    says: tuple[Says, ...] = ()

    @model_validator(mode="after")
    def _some(self) -> Exercise:
        if not (self.tables or self.steady or self.answered_by or self.says):
            raise ValueError("an exercise whose check asks for nothing cannot fail")
        return self


def load(path: Path, topology: Topology, scene: Scene) -> Exercise:
    """Raises ConfigError."""
    exercise, places = documents.load(path, Exercise)
    problems = [
        Problem(*documents.place(places, where, str(path)), text)
        for where, text in _problems(exercise, topology, scene)
    ]
    if problems:
        raise ConfigError(problems)
    return exercise


def _problems(exercise: Exercise, topology: Topology, scene: Scene) -> Iterator[tuple[Where, str]]:
    for text in scene.problems(exercise.tables, topology):
        yield ("tables",), text
    named = [(("says", number), says.node) for number, says in enumerate(exercise.says)]
    named += [(("answered_by", n), name) for n, answered in enumerate(exercise.answered_by) for name in answered.only]
    for where, name in named:
        if name not in topology.nodes:
            yield where, f"there is no node {name!r}{did_you_mean(name, topology.nodes)}"
    for number, answered in enumerate(exercise.answered_by):
        client = answered.client
        if client and client not in scene.clients:
            yield ("answered_by", number), f"there is no client {client!r}{did_you_mean(client, scene.clients)}"


def load_all(folder: Path, topology: Topology, scene: Scene) -> Mapping[str, Exercise]:
    return {path.stem: load(path, topology, scene) for path in sorted(folder.glob("*.yaml"))}


async def check(lab: Lab, scene: Scene, exercise: Exercise) -> list[Expectation]:
    """First the tables, which may take some time; then who answers, for a second; then the commands in nodes."""
    within = written_duration(exercise.within)
    steps: list[dict[str, object]] = [{"tables": exercise.tables}] if exercise.tables else []
    if exercise.steady:
        steps.append({"steady": within})
    if exercise.answered_by:
        steps.append({"wait": f"{ASKED:g}s"})
    found: list[Expectation] = []
    if steps:
        drill = Drill.model_validate(
            {"title": exercise.title, "before": 0, "after": 0, "patience": within, "steps": steps}
        )
        conductor = Conductor(lab, scene, "check", drill, lambda *_: None, steady_first=False)  # something may be wrong
        story = await conductor.run()
        found += story.met
        found += [answered_by(one, story, story.end - ASKED) for one in exercise.answered_by]
        if story.problem:
            found.append(Expectation("the check runs", False, story.problem))
    return [*found, *(one for says in exercise.says for one in ask(lab, says))]
