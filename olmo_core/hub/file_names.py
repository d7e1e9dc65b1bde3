"""Names that transformers and the Hub give to the files of a model, in folders they wrote and in our exports.

They are a convention of theirs: where a file of our own artifacts has the same name, that is a second fact.
"""

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
WEIGHTS = "model.safetensors"  # Where they are in one file; else the index names the files.
WEIGHTS_INDEX = "model.safetensors.index.json"
