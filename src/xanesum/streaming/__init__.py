"""Passes over a stack that is read in blocks: on the CPU, on a GPU, or by workers of Dask."""
