"""Names that no program here uses, each with the reason why it stays.  vulture reads this file.

A name that a benchmark uses needs no line here.  Everything below is public: a page or a docstring shows it.
"""

import argparse
import http.server

import xanesum
import xanesum.viewer.napari_layers
from xanesum.align import Shifts
from xanesum.denoisers.bm3d import BM3DDenoiser
from xanesum.preprocess import PreprocessReport
from xanesum.report.summary import Answer
from xanesum.result import Denoised
from xanesum.workflow.incremental import IncrementalScan
from xanesum.xanes.larch_normalization import Normalization, NormalizedSpectrum

# Python itself calls these.
xanesum.__getattr__
xanesum.__dir__
xanesum.__class__

# Shown to whoever asks: the docstring of the class sends readers to it.
BM3DDenoiser.licence

# Causes of a change, counted.  `PreprocessReport.lines` reads each by its name.
PreprocessReport.n_not_positive
PreprocessReport.n_linear
PreprocessReport.n_unmeasured_pixels
PreprocessReport.n_bad_reference
PreprocessReport.n_blank_frames
PreprocessReport.n_bad_frames
PreprocessReport.n_outlying_pixels
PreprocessReport.n_stuck_pixels
PreprocessReport.n_noisy_pixels
PreprocessReport.n_masked_pixels
PreprocessReport.n_dropped_frames

# The clean result of a scan that is still being taken, for programs that feed the frames themselves.
IncrementalScan.denoised

# The shifts as a file, for programs that call `estimate_shifts` themselves.
Shifts.write_shifts

# The spectrum of one pixel with its error; docs/particles.md shows it.
Denoised.spectrum

# The clean stack for HyperSpy, and the viewer napari; docs/explore.md shows them.  napari calls the reader.
Denoised.to_hyperspy
xanesum.viewer.napari_layers.to_napari
xanesum.viewer.napari_layers.get_reader

# The template of the report reads it.
Answer.question

# What notebooks show of a result.
Denoised._repr_html_

# Where shtab looks for the kind of names that a shell completes, and what argparse calls for the help.
ACTION, HELP = argparse.Action, argparse.HelpFormatter
ACTION.complete  # type: ignore[attr-defined]
HELP._fill_text

# The normalization of Larch for programs of their own: its matrices, and its lines in a plot.
Normalization.operators
NormalizedSpectrum.post_line

# What the server of the standard library calls or reads.
SERVER, HANDLER = http.server.ThreadingHTTPServer, http.server.BaseHTTPRequestHandler
SERVER.daemon_threads
SERVER.handle_error
HANDLER.protocol_version
HANDLER.server_version
HANDLER.sys_version
HANDLER.timeout
HANDLER.do_GET
HANDLER.do_POST
HANDLER.log_message
HANDLER.close_connection
