"""CO2e per kWh of electricity, by country, from codecarbon's offline table of national energy mixes.

Only the table is read: importing codecarbon takes longer than many steps.
"""

import difflib
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

TABLE = "data/private_infra/global_energy_mix.json"


def kilograms_per_kwh(country: str) -> float:
    """Return kg CO2e per kWh of a country's electricity.

    Args:
        country: ISO 3166 alpha-3 code, such as DEU.

    Raises:
        ValueError: the table does not have the country; names the nearest codes.
    """
    table = _table()
    if country not in table:
        near = difflib.get_close_matches(country.upper(), table, 3, 0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "give a code such as DEU"
        raise ValueError(f"country {country!r} has no known energy mix; {hint}")
    return table[country]


@cache
def _table() -> dict[str, float]:
    """Return country -> kg CO2e per kWh; countries without a value are left out."""
    spec = find_spec("codecarbon")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("codecarbon, which has the energy mixes, is not installed; install it or leave country out")
    entries = json.loads((Path(spec.submodule_search_locations[0]) / TABLE).read_bytes())
    found = {code: entry.get("carbon_intensity") for code, entry in entries.items()}
    return {code: grams / 1000 for code, grams in found.items() if grams is not None}
