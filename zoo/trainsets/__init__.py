"""Training sets: treatments, rules that make selections, and the treated set of a training."""
