"""The filters that a recipe can name. A filter of one's own is a file in this folder and a row here."""

from collections.abc import Mapping

from olmo_core.documents.filters.c4 import C4
from olmo_core.documents.filters.filter import Filter
from olmo_core.documents.filters.fineweb import FINEWEB
from olmo_core.documents.filters.gopher import GOPHER_QUALITY, GOPHER_REPETITION

FILTERS: Mapping[str, Filter] = {
    "gopher-quality": GOPHER_QUALITY,
    "gopher-repetition": GOPHER_REPETITION,
    "c4": C4,
    "fineweb": FINEWEB,
}
