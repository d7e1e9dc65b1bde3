"""Create MLflow's database file under a temporary name, because one with an interrupted migration is unusable."""

from pathlib import Path

SQLITE = "sqlite:///"


def make_database(uri: str) -> None:
    """Create the database of a URI if it is a file that does not exist; call it in one process at a time.

    MLflow migrates a new database in forty steps, which takes seconds on an idle machine, and refuses a database whose
    migration stopped in between.
    """
    path = Path(uri.removeprefix(SQLITE))
    if not uri.startswith(SQLITE) or path.exists():
        return
    from mlflow import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    for leftover in (new, new.with_name(f"{new.name}-journal")):
        leftover.unlink(missing_ok=True)
    MlflowClient(tracking_uri=f"{SQLITE}{new}", registry_uri=f"{SQLITE}{new}").search_experiments(max_results=1)
    new.replace(path)
