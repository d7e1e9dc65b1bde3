"""When Prefect retries a step: after failures of the infrastructure and preemption, not after a user's error."""

from typing import Any

from tasks.workers.failures import FailureClass, classify, root_message

RETRY_SECONDS = (2.0, 10.0, 60.0, 300.0, 600.0)  # a server that restarts is back within a quarter of an hour


async def worth_retrying(task: Any, run: Any, state: Any) -> bool:
    """Return whether to retry, as Prefect's retry condition: if a failure is not the user's; log it then."""
    try:
        await state.aresult()
    except Exception as error:
        if classify(error) is not FailureClass.USER:
            _log(task, run, error)
            return True
    return False


def _log(task: Any, run: Any, error: Exception) -> None:
    from prefect.logging.loggers import task_run_logger

    wait = RETRY_SECONDS[min(max(run.run_count, 1), len(RETRY_SECONDS)) - 1]
    task_run_logger(run, task).warning("%s; tried again in %.0f s", root_message(error), wait)
