"""Check that the servers of a group work: a healthy server answers, on ports that it holds itself."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from infra.patience import Patience, Show, work_of
from infra.ports import holder
from infra.services.errors import ServiceError
from infra.services.programs import Service
from infra.services.supervisor import Group, State

STARTS = 4  # of one server during a wait; another one would end like the previous ones
PAUSE_SECONDS = 0.2

Report = Callable[[str, float], None]


def await_health(group: Group, due: Sequence[Service], show: Show, report: Report | None = None) -> None:
    """Wait until these servers are healthy, as long as they make progress.

    Args:
        group: group that they belong to.
        due: servers that were launched.
        show: called with the server that this call waits for.
        report: called with the name of each server and the seconds it took, when it is healthy.

    Raises:
        ServiceError: one does not start, ends repeatedly, or makes no progress; names it, its log and the holder of its
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
                raise ServiceError(trouble(group, each, state, "keeps ending and being restarted"))
            if works(each, state):
                waiting.remove(each)
                if report is not None:
                    report(name, patience[name].seconds)
        if waiting:
            name = waiting[0].program.name
            pid, log = pids.get(name, 0), group.log(name)
            if not patience[name].lasts(name, lambda: (pid, work_of(pid, log))):  # noqa: B023 (called at once)
                raise ServiceError(trouble(group, waiting[0], states.get(name), "makes no progress"))
            time.sleep(PAUSE_SECONDS)


def works(service: Service, state: State | None) -> bool:
    """Return whether a server is healthy, or has finished if it runs once."""
    if state is None or service.program.once:
        return state is not None and state.done
    answers = state.name == "RUNNING" and (service.healthy is None or service.healthy())
    return answers and not _port_conflict(service, state)


def trouble(group: Group, service: Service, state: State | None, what: str = "") -> str:
    """Return one line on why a server is not healthy, with the last line of its log and the holder of its port."""
    if not what:
        ended = f" and ended with code {state.exit_code}" if state is not None and state.exit_code else ""
        running = state is not None and state.name == "RUNNING"
        what = "does not answer" if running else f"is {state.name if state else 'GONE'}{ended}"
    log = group.log(service.program.name)
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    last = lines[-1] if lines else "it wrote no log"
    return f"{service.program.name} {what}{_port_conflict(service, state)}: {last}; its log is {log}"


def _port_conflict(service: Service, state: State | None) -> str:
    """Return which process holds which port of a server, as the end of a clause; '' if there is no conflict."""
    pid = state.pid if state is not None else 0
    for name, port in service.ports.items():
        if (by := holder(port)) is not None and not (pid and by.belongs_to(pid)):
            return f", port {port} (services.{name} of the profile) is in use by {by}"
    return ""
