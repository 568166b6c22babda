"""Whole runs: recipe, steps, output files, predictions; and scans that are still being taken."""
