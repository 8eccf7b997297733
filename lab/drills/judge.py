"""The judge turns a story into a result: streams, windows of loss, figures, and expectations that were met or not.

Every drill answers five questions. Did the clients ask all the time? Was all well before the fault? Did the fault hurt
anyone (its effect)? What did the fault cost? What did the recovery cost? Without one of them, a drill could pass by
accident.
"""

from __future__ import annotations

from lab.drills.conduct import Story
from lab.drills.drill import Drill
from lab.drills.effects import effects_of
from lab.drills.expectations import Case, expectations_of
from lab.drills.figures import figures_of, marks_of
from lab.drills.phases import Phases
from lab.drills.result import Command, Result
from lab.drills.users import noticed
from lab.drills.windows import streams_of


def judge(story: Story, drill: Drill, slack: float = 1.0) -> Result:
    """``slack`` widens the bounds on tables, and nothing else; the result says so."""
    streams = tuple(streams_of(story, drill))
    figures = figures_of(story, streams)
    case = Case(story, drill, streams, figures, slack, Phases(story))
    return Result(
        drill=story.drill,
        title=drill.title,
        about=drill.about.strip(),
        variant=story.variant,
        started=story.started,
        duration=round(story.end - story.begin, 3),
        marks=tuple(marks_of(story)),
        streams=streams,
        figures=figures,
        expectations=(*story.met, *effects_of(case), *expectations_of(case)),
        problem=story.problem,
        noticed=noticed(story, streams),
        slack=slack,
        load=story.load,
        commands=tuple(
            Command(round(ran.at - story.begin, 3), ran.node, ran.command, ran.status, ran.output)
            for ran in story.commands
        ),
    )
