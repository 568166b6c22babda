"""Smooth drift of the illumination from frame to frame: estimated, and removed."""
