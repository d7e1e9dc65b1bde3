"""Whether the servers of a group do their work: what is up is what answers, on ports that are its own."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from infra.patience import Patience, Show, work_of
from infra.ports import holder
from infra.services.errors import ServiceError
from infra.services.programs import Service
from infra.services.supervisor import Group, State

STARTS = 4  # of one server while it is waited for; one more would end as the others did
PAUSE_SECONDS = 0.2

Tell = Callable[[str, float], None]


def await_health(group: Group, due: Sequence[Service], show: Show, tell: Tell | None = None) -> None:
    """Return when these servers do their work: they are waited for as long as they make progress.

    Args:
        group: what they belong to.
        due: servers that were launched.
        show: called with what is waited for.
        tell: called with the name of each server and its seconds, when it does its work.

    Raises:
        ServiceError: one does not start, ends again and again, or stands still; names it, its log and what holds its
            port.
    """
    patience = {each.program.name: Patience(show) for each in due}
    pids: dict[str, int] = {}
    starts: Counter[str] = Counter()
    waiting = list(due)
    while waiting:
        states = group.states()
        for each in list(waiting):
            name = each.program.name
            state = states.get(name)
            if state is None or state.name == "FATAL" or (each.program.once and state.exit_code != 0):
                raise ServiceError(trouble(group, each, state))
            if state.pid and state.pid != pids.get(name):
                pids[name] = state.pid
                starts[name] += 1
            if starts[name] >= STARTS:
                raise ServiceError(trouble(group, each, state, "is started again and again"))
            if works(each, state):
                waiting.remove(each)
                if tell is not None:
                    tell(name, patience[name].seconds)
        if waiting:
            name = waiting[0].program.name
            pid, log = pids.get(name, 0), group.log(name)
            if not patience[name].lasts(name, lambda: (pid, work_of(pid, log))):  # noqa: B023 (called at once)
                raise ServiceError(trouble(group, waiting[0], states.get(name), "has come to a standstill"))
            time.sleep(PAUSE_SECONDS)


def works(service: Service, state: State | None) -> bool:
    """Return whether a server does its work, or has done it if it runs once."""
    if state is None or service.program.once:
        return state is not None and state.done
    answers = state.name == "RUNNING" and (service.healthy is None or service.healthy())
    return answers and not _in_the_way(service, state)


def trouble(group: Group, service: Service, state: State | None, what: str = "") -> str:
    """Return in one line what keeps a server from its work, with the last line of its log and what holds its port."""
    if not what:
        ended = f" and ended with code {state.exit_code}" if state is not None and state.exit_code else ""
        running = state is not None and state.name == "RUNNING"
        what = "does not answer" if running else f"is {state.name if state else 'GONE'}{ended}"
    log = group.log(service.program.name)
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    said = lines[-1] if lines else "it said nothing"
    return f"{service.program.name} {what}{_in_the_way(service, state)}: {said}; all it said is in {log}"


def _in_the_way(service: Service, state: State | None) -> str:
    """Return which port of a server another process holds, and which process; '' where none does."""
    pid = state.pid if state is not None else 0
    for name, port in service.ports.items():
        if (by := holder(port)) is not None and not (pid and by.belongs_to(pid)):
            return f", port {port} (services.{name} of the profile) is in use by {by}"
    return ""
