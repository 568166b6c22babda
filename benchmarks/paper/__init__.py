"""The tables and figures of the paper, made again: ``python -m benchmarks.paper``; see `command`.

J. Li, B. Chen, G. Zan, G. Qian, P. Pianetta, Y. Liu, "Subspace modeling for fast and high-sensitivity X-ray
chemical imaging", CVPR 2022.
"""
