"""`olmo report`: reads the records of a release and writes its page."""

from pathlib import Path

from flows.opening import open_store, read_plan
from infra.machine import known_machine
from infra.profile import load_profile
from olmo_core.recipe.overrides import ConfigError
from olmo_core.report.page import render


def write_report(recipe: str, profile: str, overrides: list[str], out: Path | None) -> Path:
    """Write the page of a release to `out`, or below the profile's home if not given; return its path.

    Raises:
        ConfigError: the recipe or profile is not known, or the file cannot be written; no partial file is left.
    """
    loaded = load_profile(profile)
    plan = read_plan(recipe, overrides, loaded)
    path = out.expanduser() if out is not None else loaded.folder / "report" / f"{plan.recipe.name}.html"
    if path.is_dir():
        raise ConfigError(f"--out {path} is a folder; give the name of a file")
    page = render(plan, open_store(loaded), loaded, known_machine(plan.recipe, loaded.folder))
    part = path.with_name(f".{path.name}.incomplete")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(page, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"--out {path}: {error.strerror}; give a file that can be written") from error
    return path.absolute()
