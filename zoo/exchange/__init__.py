"""Predictions in, scores and selections out, in other programs' forms."""
