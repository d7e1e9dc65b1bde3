"""MLflow's database in a file: made under another name, because one whose migration was cut short is of no use."""

from pathlib import Path

SQLITE = "sqlite:///"


def make_database(uri: str) -> None:
    """Make the database of a URI, where it is a file that is not there; by one process at a time.

    MLflow migrates a fresh database in forty steps, seconds on a free machine, and refuses one that stopped in between.
    """
    path = Path(uri.removeprefix(SQLITE))
    if not uri.startswith(SQLITE) or path.exists():
        return
    from mlflow import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    for left in (new, new.with_name(f"{new.name}-journal")):
        left.unlink(missing_ok=True)
    MlflowClient(tracking_uri=f"{SQLITE}{new}", registry_uri=f"{SQLITE}{new}").search_experiments(max_results=1)
    new.replace(path)
