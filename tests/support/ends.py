"""How probes end, in the core's words. A test of the core knows no kind of check: it takes these."""

from __future__ import annotations

from anycast_agent.core.outcome import Evidence, Outcome

OK = Outcome(Evidence.SUCCESS, "ok")
REFUSED = Outcome(Evidence.DEFINITE, "refused")
RESET = Outcome(Evidence.DEFINITE, "reset", by_time=True)
BAD_STATUS = Outcome(Evidence.DEFINITE, "bad_status")
EXIT_STATUS = Outcome(Evidence.DEFINITE, "exit_status")
TIMEOUT = Outcome(Evidence.DOUBTFUL, "timeout", by_time=True)
OVERLOADED = Outcome(Evidence.DOUBTFUL, "overloaded")
NOT_RUN = Outcome(Evidence.NONE, "not_run")
EVERY = (OK, REFUSED, RESET, BAD_STATUS, EXIT_STATUS, TIMEOUT, OVERLOADED, NOT_RUN)
