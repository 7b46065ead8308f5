"""The simulator: the same scenario without a system, at sizes that no machine here holds. Figures come from a model."""
