"""A stack that is read in blocks: passes over it on the CPU, on a GPU, or by workers of Dask."""
