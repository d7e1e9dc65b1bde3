"""Checkpoints in Hugging Face form: mapping, export, model card, lineage, publishing."""
