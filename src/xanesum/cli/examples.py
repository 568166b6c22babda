"""Examples that the help of each verb shows, and the meaning of the exit codes."""

from __future__ import annotations

__all__ = ["EXAMPLES", "EXIT_CODES", "epilog_of"]

EXIT_CODES = {
    0: "all went well",
    1: "an error that one line on the error stream explains; nothing was written",
    2: "a misspelt command or option",
    130: "Ctrl-C; nothing was written",
    141: "the reader of the output, as head, has ended",
    143: "ended by the system or a scheduler; nothing was written",
}
EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {  # verb -> commands, and what they do
    "info": (
        ("xanesum info scan.h5", "axes, energies, quantity, and what else the file holds"),
        ("xanesum info stack.tif --energies energies.txt", "an image stack with a list of energies"),
        ("xanesum info scan.h5 --json", "the same for a program"),
    ),
    "check": (
        ("xanesum check scan.h5", "is the scan good enough, and what should be mended first?"),
        ("xanesum check scan.h5 --e0 8343", "the same, with the energy of the edge"),
    ),
    "plan": (
        ("xanesum plan scan.h5", "time, memory and disk space of a run"),
        ("xanesum plan scan.h5 --denoiser wavelet --memory 4GB", "the same, with options of the run"),
    ),
    "convert": (
        ("xanesum convert scan.txrm scan.h5", "from a Zeiss / Xradia file to the native form"),
        ("xanesum convert scan.h5 --to tiff", "to scan.tif, with the energies in scan_energies.txt"),
        ("xanesum convert scan.h5 fxi.h5 --to pyxas", "for PyXAS"),
    ),
    "align": (
        ("xanesum align scan.h5", "writes scan_aligned.h5"),
        ("xanesum align scan.h5 -o aligned.h5 --shifts shifts.csv", "also the table of shifts and errors"),
    ),
    "denoise": (
        ("xanesum denoise scan.h5", "writes scan_clean.h5"),
        ("xanesum denoise scan.h5 -o clean.hspy --denoiser wavelet", "for HyperSpy, without PyTorch"),
    ),
    "map": (
        ("xanesum map scan.h5", "writes scan_map.tif, and scan_map_edge_step.tif"),
        ("xanesum map results/result.sum.h5 -o peak.h5 --kind white_line", "another map of a saved result"),
        ("xanesum map scan.h5 -o noisy.tif --as-is", "a map without denoising, to compare"),
    ),
    "run": (
        ("xanesum run scan.h5", "writes the folder scan_results, with report.html"),
        ("xanesum run stack.tif --energies energies.txt -o results", "an image stack"),
        ("xanesum run scan.h5 --quantity counts --flat flat.tif --dark dark.tif", "counts with their flats"),
        ("xanesum run scan.h5 --recipe recipe.toml --figures", "options of a file; figures for a paper"),
    ),
    "figures": (
        ("xanesum figures results", "writes map, histogram and spectra as SVG and PNG, into results_figures"),
        (
            "xanesum figures results -o paper --pixel 40,62 --pixel 51,80",
            "spectra of pixels y,x of your choice",
        ),
    ),
    "fit": (
        ("xanesum fit scan.h5 --references NiO.xdi Ni.xdi", "writes the folder scan_fractions"),
        (
            "xanesum fit results/result.sum.h5 --references standards.prj --at-most 3 -o fractions",
            "the best three spectra of an Athena project, for a saved result",
        ),
        ("xanesum fit scan.h5 --unmix 2", "two spectra found in the scan itself"),
    ),
    "cluster": (
        ("xanesum cluster results/result.sum.h5", "regions of one chemical state; their number is found"),
        ("xanesum cluster scan.h5 --clusters 3 -o clusters", "three of them"),
    ),
    "particles": (
        ("xanesum particles results/result.sum.h5", "each particle: mean state with its error, and spread"),
        ("xanesum particles scan.h5 --labels labels.tif -o particles", "the particles of an image of labels"),
    ),
    "regions": (
        ("xanesum regions scan.h5 --where core=10:40,20:60 --where rim=rim.tif", "a box, and an image"),
    ),
    "watch": (
        ("xanesum watch /data/scan -o live --frames 120", "until 120 frames have come"),
        ("xanesum watch /data/scan --flat flat.tif --quantity counts", "until Ctrl-C"),
    ),
    "view": (
        ("xanesum view results --raw scan.h5", "click on a grain, and see its spectrum"),
        ("xanesum view results -o explore.html", "one file to send to others"),
    ),
    "references": (
        ("xanesum references NiO.xdi standards.prj", "what the spectra are"),
        ("xanesum references *.xdi --scan scan.h5 --plot fit.pdf", "whether they fit a scan, with a figure"),
    ),
    "simulate": (
        ("xanesum simulate electrode", "writes electrode.h5"),
        ("xanesum simulate wedge --shape 120x160 --sigma 20 -o wedge.tif", "smaller, with less noise"),
    ),
    "example": (
        ("xanesum example", "writes example.h5, a small scan with counts, flats, a dark image and motion"),
        ("xanesum example -o scan.h5", "the same under another name"),
    ),
    "demo": (("xanesum demo", "simulates a scan, and writes the folder demo with its report"),),
    "completion": (
        (
            "xanesum completion bash > ~/.local/share/bash-completion/completions/xanesum",
            "for bash, from the next shell on",
        ),
        ("xanesum completion zsh > ~/.zfunc/_xanesum", "for zsh, where ~/.zfunc is in fpath"),
        ("xanesum completion fish > ~/.config/fish/completions/xanesum.fish", "for fish"),
    ),
}


def epilog_of(verb: str | None = None) -> str:
    """Return what the help of a verb, or of the command, ends with."""
    codes = "\n".join(f"  {code:<4} {meaning}" for code, meaning in EXIT_CODES.items())
    if verb is None:
        shown = [EXAMPLES[name][0] for name in ("info", "check", "run", "view")]
        return f"examples:\n{_listed(shown)}\n\nexit codes:\n{codes}"
    short = ", ".join(
        f"{code} {meaning.partition(';')[0]}" for code, meaning in EXIT_CODES.items() if code < 3
    )
    return f"examples:\n{_listed(EXAMPLES[verb])}\n\nexit codes: {short}; all: xanesum --help"


def _listed(examples: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> str:
    return "\n".join(f"  {command}\n      {what}" for command, what in examples)
