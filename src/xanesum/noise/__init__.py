"""Noise: its level, the law of a detector, its variance, noise common to all frames."""
