"""Studies: points, outcomes, measures, claims, findings; arms and their comparison."""
