"""`olmo why`: whether a step would be reused, and if not, what differs."""

from typing import Any

from rich.console import Console

from flows.opening import open_store, read_plan
from infra.profile import load_profile
from olmo_core.artifact.why import why


def explain(recipe: str, profile: str, overrides: list[str], label: str, strict_code: bool) -> dict[str, Any]:
    """Return whether a step would be reused, and if not, what differs."""
    loaded = load_profile(profile)
    step = read_plan(recipe, overrides, loaded).step(label)
    found = why(step, open_store(loaded), strict_code)
    return {
        "step": step.label,
        "id": step.id,
        "hit": found.hit,
        "reason": found.reason,
        "differences": [str(each) for each in found.differences],
        "code_changed": list(found.code_changed),
    }


def print_why(console: Console, found: dict[str, Any]) -> None:
    """Print an explanation for people."""
    verdict = "hit" if found["hit"] else "miss"
    console.print(f"{found['step']} ({found['id'][:12]}): {verdict}: {found['reason']}", highlight=False, markup=False)
    for line in found["differences"]:
        console.print(f"  {line}", highlight=False, markup=False)
