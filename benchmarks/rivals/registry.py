"""All rivals by name."""

from __future__ import annotations

import numpy as np
from _median3 import median3

from rivals.blind_spot import UDVD_BUDGET, udvd
from rivals.fine_tuning import FINE_TUNING, frame_to_frame, restore_from_restored
from rivals.framewise import bm4d_stack, framewise_bm3d, framewise_network
from rivals.layering import reld
from rivals.non_local import ngmeet
from rivals.own_environment import fasthyde, hyperspy_pca, l1hymixde, nmf
from rivals.rival import Rival, Stack
from rivals.singular_values import optimal_shrinkage, svd_hard, svd_soft

__all__ = ["RIVALS"]

OWN = "BSD-3-Clause (this project)"
TAMPERE = "Tampere University, non-commercial use only"


def median_of_neighbours(stack: Stack, sigma: float, rng: np.random.Generator) -> Stack:
    """Take the median over 3 x 3 x 3 neighbours; see `median3`."""
    return median3(stack)


_ALL = (
    Rival(
        "3-D median",
        median_of_neighbours,
        "Meirer et al., J. Synchrotron Rad. 18 (2011) 773",
        OWN,
        "in process",
        paper="MedFilt3",
    ),
    Rival(
        "SVD, SURE, hard",
        svd_hard,
        "Li et al., CVPR 2022; Candes et al., IEEE Trans. Signal Process. 61 (2013) 4643",
        OWN,
        "in process",
        paper="SVD",
    ),
    Rival(
        "SVD, SURE, soft",
        svd_soft,
        "Candes et al., IEEE Trans. Signal Process. 61 (2013) 4643",
        OWN,
        "in process",
    ),
    Rival(
        "SVD, optimal shrinkage",
        optimal_shrinkage,
        "Gavish and Donoho, IEEE Trans. Inf. Theory 63 (2017) 2137",
        OWN,
        "in process",
    ),
    Rival(
        "ReLD",
        reld,
        "Guo et al., IEEE Trans. Signal Process. 62 (2014) 4284; Guo and Vaswani, SSP 2016",
        f"{OWN}; layers by bm3d: {TAMPERE}",
        "in process",
        paper="ReLD",
        note="layers denoised frame by frame by BM3D, in place of V-BM3D",
        cost="large",
    ),
    Rival(
        "BM4D",
        bm4d_stack,
        "Maggioni et al., IEEE Trans. Image Process. 22 (2013) 119",
        TAMPERE,
        "in process",
        paper="VBM4D",
        note="in the role of V-BM4D",
        cost="large",
    ),
    Rival(
        "BM3D, frame by frame",
        framewise_bm3d,
        "Dabov et al., IEEE Trans. Image Process. 16 (2007) 2080",
        TAMPERE,
        "in process",
        cost="large",
    ),
    Rival(
        "network, frame by frame",
        framewise_network,
        "the network of this project",
        OWN,
        "in process",
    ),
    Rival(
        "UDVD",
        udvd,
        "Sheth et al., ICCV 2021",
        OWN,
        "in process",
        paper="UDVD",
        note=f"5 frames, smaller network; {UDVD_BUDGET}",
        cost="large",
    ),
    Rival(
        "RFR",
        restore_from_restored,
        "Lee et al., CVPR 2021",
        OWN,
        "in process",
        paper="RFR",
        note=f"from the DnCNN of this project; {FINE_TUNING}",
        cost="large",
    ),
    Rival(
        "Frame2Frame",
        frame_to_frame,
        "Ehret et al., CVPR 2019",
        OWN,
        "in process",
        note=f"from the DnCNN of this project; {FINE_TUNING}",
        cost="large",
    ),
    Rival(
        "HyperSpy PCA, Poisson weights",
        hyperspy_pca,
        "Keenan and Kotula, Surf. Interface Anal. 36 (2004) 203",
        "GPL-3 (HyperSpy)",
        "own environment",
        note="number of components by its elbow rule",
    ),
    Rival(
        "FastHyDe",
        fasthyde,
        "Zhuang and Bioucas-Dias, IEEE J. Sel. Top. Appl. Earth Obs. Remote Sens. 11 (2018) 730",
        f"GPL-2 (FastHyDe), BSD-3-Clause (HyDe); bm3d: {TAMPERE}",
        "own environment",
        note="10 components, bands not normalized",
        cost="large",
    ),
    Rival(
        "L1HyMixDe",
        l1hymixde,
        "Zhuang and Ng, IEEE J. Sel. Top. Appl. Earth Obs. Remote Sens. 13 (2020) 1143",
        f"GPL-2 (FastHyDe), BSD-3-Clause (HyDe); bm3d: {TAMPERE}",
        "own environment",
        note="10 components, bands not normalized; made for outliers beside white noise",
        cost="large",
    ),
    Rival(
        "NGMeet",
        ngmeet,
        "He et al., CVPR 2019",
        OWN,
        "in process",
        note="settings of the authors' program for the noise level and the number of energies",
        cost="large",
    ),
    Rival(
        "non-negative factors",
        nmf,
        "Lee and Seung, Nature 401 (1999) 788",
        "BSD-3-Clause (scikit-learn)",
        "own environment",
        note="a component for each singular value above the noise, and one for the offset",
        cost="large",
    ),
)
RIVALS: dict[str, Rival] = {rival.name: rival for rival in _ALL}
