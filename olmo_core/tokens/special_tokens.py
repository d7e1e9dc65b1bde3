"""The names of the two files of a tokenizer, and the special tokens in the second one."""

import msgspec

TOKENIZER_FILE = "tokenizer.json"
SPECIAL_TOKENS_FILE = "special_tokens.json"


class SpecialTokens(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The facts about a tokenizer that models and token files need; `vocab_size` is one more than the largest id."""

    eos_token: str
    eos_id: int
    pad_token: str
    pad_id: int
    vocab_size: int
