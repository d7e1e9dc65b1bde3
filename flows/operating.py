"""What `olmo up` and `olmo down` do: servers started or stopped, their addresses and states shown."""

from rich.console import Console

from flows.display import print_table
from infra.doctor import Finding, examine
from infra.services.group import bring_up, environment_file, states, take_down
from olmo_core.recipe.profile import load_profile


def up(recipes: list[str], profile: str, console: Console) -> list[dict[str, str]]:
    """Start the servers of a profile and register the deployments of recipes; return a row for each server.

    Raises:
        ServiceError: a server cannot be started; names it and the remedy.
        ConfigError: the profile or a recipe does not validate.
    """
    loaded = load_profile(profile)

    def tell(name: str, seconds: float) -> None:
        console.print(f"{name} ready after {seconds:.1f} s", highlight=False)

    started = bring_up(loaded, profile, recipes, tell)
    now = states(loaded)
    return [
        {"service": each.program.name, "state": now.get(each.program.name, "GONE"), "address": each.address}
        for each in started
    ]


def show(rows: list[dict[str, str]], profile: str, console: Console) -> None:
    """Print the servers, and how a shell becomes their client."""
    loaded = load_profile(profile)
    print_table(console, "services", rows)
    folder = environment_file(loaded).parent
    console.print(
        f"user `olmo`, passwords in {folder / 'tokens'}; in a shell, before `prefect` or `mlflow`:\n"
        f"  . {environment_file(loaded)}",
        highlight=False,
        soft_wrap=True,
    )


def examined(profile: str) -> list[Finding]:
    """Return what `olmo doctor` finds."""
    return list(examine(load_profile(profile)))


def down(profile: str) -> bool:
    """Stop the servers of a profile; return whether any was up."""
    return take_down(load_profile(profile))
