"""Planted faults in denoisers."""

from faults import Fault

FAULTS = (
    Fault(
        "exact form: the rounding form passed off as exact",
        "denoisers/registry.py",
        "exact = denoiser.exact if isinstance(denoiser, RoundingDenoiser) else denoiser",
        "exact = denoiser",
        "tests/test_denoisers_registry.py",
    ),
    Fault(
        "network: tiles fade in at both ends",
        "denoisers/network.py",
        "share[-_OVERLAP_PX:] = ramp[::-1]",
        "share[-_OVERLAP_PX:] = ramp",
        "tests/test_denoisers_network.py",
    ),
    Fault(
        "network: each tile takes its own mean",
        "denoisers/network.py",
        "share * self._apply(noisy[tile], mean, deviation)",
        "share * self._apply(noisy[tile], float(noisy[tile].mean()), float(noisy[tile].std()))",
        "tests/test_denoisers_network.py",
    ),
    Fault(
        "network: a risk in bfloat16",
        "denoisers/network.py",
        "twin._half = False",
        "twin._half = True",
        "tests/test_denoisers_network.py",
    ),
    Fault(
        "network: any checksum will do",
        "denoisers/network.py",
        'if hashlib.sha256(data).hexdigest() != card["sha256"]:',
        'if len(hashlib.sha256(data).hexdigest()) != len(card["sha256"]):',
        "tests/test_denoisers_network.py",
    ),
    Fault(
        "network: the result keeps the unit of the noise",
        "denoisers/network.py",
        "return np.asarray(denoised * sigma, np.float32)",
        "return np.asarray(denoised, np.float32)",
        "tests/test_denoisers_network.py",
    ),
)
