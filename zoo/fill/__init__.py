"""The fill: what is to do, and the answers of a group of classifiers."""
