"""Planted faults in the explorer."""

from faults import Fault

SERVER, BROWSER = "tests/test_viewer.py", "tests/test_viewer_browser.py"
FAULTS = (
    Fault(
        "viewer: any token will do",
        "viewer/server.py",
        "if not hmac.compare_digest(token.encode(), self.token.encode()):",
        "if False:",
        SERVER,
    ),
    Fault(
        "viewer: any host and origin will do",
        "viewer/server.py",
        "if not OWN_HOST.fullmatch(host) or (",
        "if host and not host or (",
        SERVER,
    ),
    Fault(
        "viewer: images are rounded to their noise",
        "viewer/packing.py",
        "STEPS_IN_NOISE = 4.0",
        "STEPS_IN_NOISE = 1.0",
        SERVER,
    ),
    Fault(
        "viewer: the error of a mean lacks what pixels share",
        "viewer/templates/numerics.js",
        "for (let e = 0; e < nE; e++) variance[e] += square * part.variance[e];",
        "",
        BROWSER,
    ),
    Fault(
        "viewer: the residual is not divided by its noise",
        "viewer/exact.py",
        "(values - clean) / noise",
        "(values - clean)",
        SERVER,
    ),
    Fault(
        "viewer: maps in napari have values outside the mask",
        "viewer/napari_layers.py",
        'if "mask" not in maps or name.startswith("edge_step"):',
        "if True:",
        "tests/test_viewer_napari.py",
    ),
    Fault(
        "viewer: napari is told the size of a pixel in no axis",
        "viewer/napari_layers.py",
        "(size,) * len(IMAGE),",
        "(1.0,) * len(IMAGE),",
        "tests/test_viewer_napari.py",
    ),
    Fault(
        "viewer: napari counts frames from the first energy",
        "viewer/napari_layers.py",
        '"translate": (0.0,) * len(names),',
        '"translate": (8180.0,) * len(names),',
        "tests/test_viewer_napari.py",
    ),
)
