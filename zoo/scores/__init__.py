"""Scores of examples: X- and C-perplexity, label quality, confusions; label errors found by
them."""
