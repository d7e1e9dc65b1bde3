"""How much CO2e a kWh of electricity stands for, by country: codecarbon's table of national energy mixes, offline.

Only the table is read: importing codecarbon takes longer than many a step.
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
        ValueError: the table does not have it; names the nearest codes.
    """
    table = _table()
    if country not in table:
        near = difflib.get_close_matches(country.upper(), table, 3, 0.5)
        raise ValueError(f"no energy mix is known for {country!r}; near are {', '.join(near) or 'none'}, as in DEU")
    return table[country]


@cache
def _table() -> dict[str, float]:
    """Return country -> kg CO2e per kWh; countries whose table has none are left out."""
    spec = find_spec("codecarbon")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("codecarbon is not installed, which knows the energy mixes; install it or give no country")
    entries = json.loads((Path(spec.submodule_search_locations[0]) / TABLE).read_bytes())
    found = {code: entry.get("carbon_intensity") for code, entry in entries.items()}
    return {code: grams / 1000 for code, grams in found.items() if grams is not None}
