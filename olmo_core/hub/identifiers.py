"""Identifiers that a Hub accepts in the metadata of a model card: licences, and ISO 639 languages.

The Hub checks them when a revision is published, after all training; this file checks them in a recipe.
"""

import difflib
import re

# https://huggingface.co/docs/hub/repositories-licenses; `other` stands for any other licence.
LICENCES = (
    *("apache-2.0", "mit", "openrail", "openrail++", "bigscience-openrail-m", "creativeml-openrail-m"),
    *("bigscience-bloom-rail-1.0", "bigcode-openrail-m", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause"),
    *(
        "bsd-3-clause",
        "bsd-3-clause-clear",
        "c-uda",
        "cc",
        "cc0-1.0",
        "cc-by-2.0",
        "cc-by-2.5",
        "cc-by-3.0",
        "cc-by-4.0",
    ),
    *(
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc-by-nc-2.0",
        "cc-by-nc-3.0",
        "cc-by-nc-4.0",
        "cc-by-nd-4.0",
        "cc-by-nc-nd-3.0",
    ),
    *("cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0"),
    *("cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1"),
    *("eupl-1.2", "agpl-3.0", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "lgpl-lr", "isc"),
    *(
        "lppl-1.3c",
        "ms-pl",
        "mpl-2.0",
        "odc-by",
        "odbl",
        "osl-3.0",
        "postgresql",
        "ofl-1.1",
        "ncsa",
        "unlicense",
        "zlib",
    ),
    *("pddl", "deepfloyd-if-license", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "gemma"),
    *("apple-ascl", "apple-amlr", "intel-research", "h-research", "fair-noncommercial-research-license"),
    *("unknown", "other"),
)
NO_LANGUAGE = ("code", "multilingual")
_NOISE = {"the", "license", "licence", "version", "public", "general"}


def check_licence(text: str) -> str:
    """Return the identifier of a licence.

    Raises:
        ValueError: the Hub does not know it; names the nearest.
    """
    if text in LICENCES:
        return text
    words = [word for word in re.findall(r"[a-z0-9.+]+", text.lower()) if word not in _NOISE]
    near = difflib.get_close_matches("-".join(words), LICENCES, 1, 0.5)
    hint = f"did you mean {near[0]!r}?" if near else "use one of huggingface.co/docs/hub/repositories-licenses"
    raise ValueError(f"not a licence identifier of the Hub, where 'other' stands for any other licence; {hint}")


def check_language(text: str) -> str:
    """Return the code of a language, `code` or `multilingual`.

    Raises:
        ValueError: ISO 639 has no such code; names the nearest.
    """
    from pycountry import languages

    if text in NO_LANGUAGE or (text.islower() and (languages.get(alpha_2=text) or languages.get(alpha_3=text))):
        return text
    short = text.split("-")[0].lower()
    found = languages.get(name=text.title()) or languages.get(alpha_2=short) or languages.get(alpha_3=short)
    if found is None:
        names = {entry.name: entry for entry in languages if hasattr(entry, "alpha_2")}
        found = next((names[name] for name in difflib.get_close_matches(text.title(), names, 1, 0.6)), None)
    hint = (
        f"did you mean {getattr(found, 'alpha_2', found.alpha_3)!r}?" if found is not None else "give one such as 'en'"
    )
    raise ValueError(f"not an ISO 639 language code; {hint}")
