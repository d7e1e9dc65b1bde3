"""`olmo up`, `olmo down` and `olmo doctor`: start, show, stop and check the servers of a profile."""

from rich.console import Console

from flows.cli.progress import waiting
from flows.cli.tables import print_table
from flows.interruption import InterruptError
from flows.opening import bytes_to_write, open_store, read_plan
from infra.doctor.examination import examine
from infra.doctor.finding import Finding
from infra.machine import cores, measured_machine, processor
from infra.profile import Profile, load_profile
from infra.services.group import bring_up, environment_file, services_up, states, take_down
from olmo_core.artifact.source import environment
from olmo_core.recipe.recipe import Recipe


def up(recipes: list[str], profile: str, console: Console) -> tuple[Profile, list[dict[str, str]]]:
    """Start the servers of a profile and register the deployments of recipes; return it, and a row per server.

    Raises:
        ServiceError: a server cannot be started; names it and the remedy.
        ConfigError: the profile or a recipe is not valid.
        InterruptError: the command was asked to end; the servers that it started are stopped.
    """
    loaded = load_profile(profile)
    were_up = services_up(loaded)

    def tell(name: str, seconds: float) -> None:
        console.print(f"{name} ready after {seconds:.1f} s", highlight=False)

    try:
        with waiting(console) as show:
            started = bring_up(loaded, profile, recipes, tell, show)
    except InterruptError:
        if were_up:
            raise InterruptError("the services were already up and stay up") from None
        take_down(loaded)
        raise InterruptError("the services are stopped") from None
    now = states(loaded)
    return loaded, [
        {"service": each.program.name, "state": now.get(each.program.name, "GONE"), "address": each.address}
        for each in started
    ]


def show(rows: list[dict[str, str]], profile: Profile, console: Console) -> None:
    """Print the servers, and the command that makes a shell their client."""
    print_table(console, "services", rows)
    file = environment_file(profile)
    console.print(
        f"user `olmo`, passwords in {file.parent / 'tokens'}; in a shell, before `prefect` or `mlflow`:\n  . {file}",
        highlight=False,
        soft_wrap=True,
    )


def examined(recipe: str, profile: str) -> list[Finding]:
    """Return the findings of `olmo doctor`, which include disk space for the missing artifacts of a recipe."""
    loaded = load_profile(profile)
    plan = read_plan(recipe, [], loaded)
    needed = 0  # a remote store takes no disk space here, and its contents are only known once it answers
    if "://" not in loaded.store_root:
        needed = bytes_to_write(plan, open_store(loaded).snapshot(), plan.steps, loaded)
    return [_machine(plan.recipe, loaded), *examine(loaded, needed)]


def _machine(recipe: Recipe, profile: Profile) -> Finding:
    """Return the processor of this machine, and its speed in the products of a recipe."""
    seen = f"{processor()}, {cores()} cores; {environment().arithmetic}"
    machine = measured_machine(recipe, profile.folder)
    if machine is None:
        return Finding("machine", seen, "torch cannot be run: install the packages of requirements.lock")
    rates = ", ".join(f"{rate / 1e9:.3g} GFLOP/s in {name}" for name, rate in sorted(machine.rates.items()))
    return Finding("machine", f"{seen}; products of {recipe.name} on one thread: {rates}")


def down(profile: str, console: Console) -> bool:
    """Stop the servers of a profile; return whether any was up."""
    with waiting(console) as show:
        return take_down(load_profile(profile), show)
