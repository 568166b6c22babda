"""Whole jobs: recipe, resources, steps, files, plan; scans that are still being taken."""
