"""Corpora, the tokenizer, token files, mixes, and the loader that reads them in order."""
