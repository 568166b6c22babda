"""Train a denoising network on synthetic scenes and export its weights with a model card.

    python -m training.train --minutes 75 --out runs/unet           (in the root of the repository)
    python -m training.train --minutes 30 --out runs/unet --resume  (goes on; the rate rises and falls again)

The contract: unit noise in, any contrast up to 100.  A checkpoint is written every ten minutes, and
at Ctrl-C; the exported weights are an exponential average over the steps.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import multiprocessing
import platform
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.scenes import HELD_OUT, draw_scene
from xanesum.denoisers._networks import ARCHITECTURES

CONTRASTS = {  # standard deviation of a scene in units of the noise, and its share of the patches
    (0.002, 0.05): 0.07,  # nothing to see: the network has to learn to return nothing
    (0.05, 100.0): 0.43,
    (2.0, 100.0): 0.50,  # a scan's first component
}
LOSS_FLOOR = 3e-5  # squared error, in units of the noise, below which nothing is gained
LOSSES: dict[str, Callable[[Tensor], Tensor]] = {  # of the mean squared error of each patch
    "log": lambda mse: torch.log(mse + LOSS_FLOOR),
    "power": lambda mse: 8 * (mse + LOSS_FLOOR) ** 0.125,
    "root": lambda mse: torch.sqrt(mse + 1e-4),
}
CHECKPOINT_S = 600
CHUNK = 20  # scenes that a process draws at a time
AVERAGE = 0.999  # of the weights, per step
VALIDATION_CONTRASTS = (0.003, 0.1, 0.5, 2.0, 10.0, 50.0)


@dataclass(frozen=True)
class Options:
    """Everything that makes a training what it is."""

    architecture: str = "unet"
    minutes: float = 60.0
    steps: int = 0  # ends earlier, after this many; 0 for no limit
    seed: int = 0
    scenes: int = 3000
    side: int = 256
    patch: int = 128
    batch: int = 5
    rate: float = 1e-3
    loss: str = "power"
    device: str = "auto"
    engine: str = "compiled"


CHOICES = {
    "architecture": sorted(ARCHITECTURES),
    "loss": sorted(LOSSES),
    "device": ["auto", "cpu", "cuda"],
    "engine": ["compiled", "eager"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in asdict(Options()).items():
        parser.add_argument(f"--{name}", type=type(default), default=default, choices=CHOICES.get(name))
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint, log and export")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--resume", action="store_true", help="go on from the checkpoint in OUT")
    begin.add_argument("--start", type=Path, help="begin with these exported weights")
    arguments = vars(parser.parse_args())
    out, resume, start = (arguments.pop(name) for name in ("out", "resume", "start"))
    options = Options(**arguments)
    if (out / "checkpoint.pt").exists() is not resume:
        parser.error(f"{out} holds {'no' if resume else 'a'} checkpoint; only --resume goes on from one")
    out.mkdir(parents=True, exist_ok=True)
    training = Training(options, out)
    if start is not None:
        training.start_from(start)
    if resume:
        training.resume()
    try:
        training.run()
    except KeyboardInterrupt:
        training.log("interrupted")
    training.checkpoint()
    training.export()


def make_scenes(options: Options) -> Tensor:
    """Return the scenes (N, side, side) as float16, made by all cores."""
    draw = partial(_scene, options.seed, options.side)
    if options.scenes <= CHUNK:
        scenes = [draw(number) for number in range(options.scenes)]
    else:  # a fork of a process with threads, which PyTorch has, may hang
        with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
            scenes = list(pool.map(draw, range(options.scenes), chunksize=CHUNK))
    return torch.from_numpy(np.stack(scenes))


def _draw_contrasts(count: int, generator: torch.Generator) -> Tensor:
    """Return contrasts (count, 1, 1, 1), each log-uniform over one of the ranges of `CONTRASTS`."""
    ranges = torch.log(torch.tensor(list(CONTRASTS)))
    chosen = torch.multinomial(
        torch.tensor(list(CONTRASTS.values())), count, replacement=True, generator=generator
    )
    low, high = ranges[chosen].T
    return torch.exp(low + (high - low) * torch.rand(count, generator=generator)).view(-1, 1, 1, 1)


def _fits(old: Tensor, new: Tensor) -> bool:
    """Say whether a layer's weights can become those of another, as large or larger."""
    return old.ndim == new.ndim and all(a <= b for a, b in zip(old.shape, new.shape, strict=True))


def _widened(old: Tensor, new: Tensor, out_axis: int) -> Tensor:
    """Put the weights of a narrower layer into a wider one, so that its old outputs stay what they were."""
    olds, news = (value.transpose(0, out_axis) for value in (old, new.clone()))
    news[: olds.shape[0], olds.shape[1] :] = 0
    news[: olds.shape[0], : olds.shape[1]] = olds
    return news.transpose(0, out_axis).contiguous()


def _scene(seed: int, side: int, number: int) -> np.ndarray:
    return draw_scene(np.random.default_rng((seed, number)), side).astype(np.float16)


class Training:
    """State of one training: network, its average, optimizer, and where it stands."""

    def __init__(self, options: Options, out: Path) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.options, self.out = options, out
        self.device = torch.device(device if options.device == "auto" else options.device)
        torch.manual_seed(options.seed)
        self.network = ARCHITECTURES[options.architecture]().to(
            self.device, memory_format=torch.channels_last
        )
        compiled = options.engine == "compiled"
        self.forward = torch.compile(self.network) if compiled else self.network
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), options.rate, betas=(0.9, 0.99), weight_decay=1e-4
        )
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.steps, self.seconds, self.loss = 0, 0.0, math.nan
        self.began_at_step = 0
        self.started_from = ""

    def run(self) -> None:
        """Train for the given minutes; the rate warms up and then falls along half a cosine."""
        began = time.monotonic()
        scenes = make_scenes(self.options).to(self.device)
        self.log(f"{len(scenes)} scenes in {time.monotonic() - began:.0f} s; {self.describe_network()}")
        generator = torch.Generator().manual_seed(self.options.seed + self.steps)
        limit, last_step = 60 * self.options.minutes, self.steps + (self.options.steps or sys.maxsize)
        began = saved = time.monotonic()
        before, losses = self.seconds, []
        while (passed := time.monotonic() - began) < limit and self.steps < last_step:
            self._set_rate(passed / limit)
            losses.append(self._step(scenes, generator))
            self.seconds = before + passed
            if self.steps % 500 == 0:
                self.loss = float(torch.stack(losses[-500:]).mean())
                self.log(f"step {self.steps}, {self.seconds:.0f} s, loss {self.loss:.4f}")
            if time.monotonic() - saved > CHECKPOINT_S:
                self.checkpoint()
                self.export()
                saved = time.monotonic()
        if losses:
            self.loss = float(torch.stack(losses[-500:]).mean())

    def _set_rate(self, share: float) -> None:
        warm = min(1.0, (self.steps - self.began_at_step + 1) / 300)
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.rate * (warm * 0.5 * (1 + math.cos(math.pi * share)) + 2e-3)

    def _step(self, scenes: Tensor, generator: torch.Generator) -> Tensor:
        clean, deviation, mean = self._batch(scenes, generator)
        noise = torch.randn(clean.shape, generator=generator).to(self.device)
        noisy = (clean + noise).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16):
            error = self.forward(noisy, mean, deviation) - clean
        mse = error.square().mean((1, 2, 3))
        loss = LOSSES[self.options.loss](mse).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.steps += 1
        weight = 1 - min(AVERAGE, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.average[name].lerp_(value, weight)
        return loss.detach()

    def _batch(self, scenes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return clean patches (B, 1, P, P), and deviation and mean (B, 1, 1, 1) of the noisy images."""
        options = self.options
        pick = lambda high, *shape: torch.randint(0, high, shape, generator=generator)  # noqa: E731
        uniform = lambda: torch.rand(options.batch, 1, 1, 1, generator=generator)  # noqa: E731
        corners = pick(options.side - options.patch + 1, options.batch, 2).tolist()
        patches = [
            scenes[i, y : y + options.patch, x : x + options.patch]
            for i, (y, x) in zip(pick(len(scenes), options.batch).tolist(), corners, strict=True)
        ]
        clean = torch.stack(patches)[:, None].float()
        clean = torch.rot90(clean, int(pick(4, 1)), (2, 3))
        clean = clean.flip(3) if int(pick(2, 1)) else clean
        contrast = _draw_contrasts(options.batch, generator).to(self.device)
        sign = torch.where(uniform() < 0.5, -1.0, 1.0).to(self.device)
        clean = clean * contrast * sign
        # half of the patches are whole images, the others parts of one that has the scene's contrast
        whole = (uniform() < 0.5).to(self.device)
        variance = torch.where(whole, clean.var((1, 2, 3), keepdim=True), contrast**2)
        mean = torch.where(whole, clean.mean((1, 2, 3), keepdim=True), 0.0)
        return clean, torch.sqrt(variance + 1), mean

    # --- files

    def log(self, text: str) -> None:
        """Print a line and append it to the log."""
        print(text, flush=True)
        with open(self.out / "log.txt", "a", encoding="utf-8") as file:
            file.write(text + "\n")

    def describe_network(self) -> str:
        """Return architecture, size and device in words."""
        count = sum(p.numel() for p in self.network.parameters())
        return f"{self.options.architecture}, {count} parameters, {self.device}"

    def checkpoint(self) -> None:
        """Write everything that `resume` needs, all of it or nothing."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
            "seconds": self.seconds,
            "started_from": self.started_from,
        }
        temporary = self.out / "checkpoint.tmp"
        torch.save(state, temporary)
        temporary.replace(self.out / "checkpoint.pt")

    def resume(self) -> None:
        """Go on where the checkpoint stopped."""
        state = torch.load(self.out / "checkpoint.pt", map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps, self.seconds = state["steps"], state["seconds"]
        self.started_from, self.began_at_step = state["started_from"], state["steps"]

    def start_from(self, path: Path) -> None:
        """Begin with exported weights, of this network or of a narrower one."""
        state, loaded = self.network.state_dict(), load_file(path)
        fits = state.keys() == loaded.keys() and all(_fits(loaded[name], state[name]) for name in state)
        if not fits:
            raise SystemExit(f"{path}: no weights of this architecture, or of a wider network than this one")
        for name, value in loaded.items():
            # a transposed convolution has its outputs on the second axis
            state[name] = _widened(value.float(), state[name].cpu(), out_axis=int(name.startswith("up.")))
        self.network.load_state_dict(state)
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.started_from = hashlib.sha256(path.read_bytes()).hexdigest()

    def export(self) -> None:
        """Write the averaged weights as float16, and their card."""
        name = self.options.architecture
        path = self.out / f"{name}.safetensors"
        save_file({key: value.half().contiguous().cpu() for key, value in self.average.items()}, path)
        card = {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "steps": self.steps,
            "seconds": round(self.seconds),
            "loss": self.loss,
            "gain_db": self.validate(),
            "data": "training/scenes.py, synthetic",
            "started_from": self.started_from,
            "device": torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu",
            "machine": f"{platform.system()} {platform.machine()}, torch {torch.__version__}",
            "options": asdict(self.options),
            "layers": self.network.layers,
        }
        (self.out / f"{name}.json").write_text(json.dumps(card, indent=1) + "\n", "utf-8")
        self.log(f"exported at step {self.steps}: gain in dB {card['gain_db']}")

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return the gain in dB on the held-out families at several contrasts."""
        network = ARCHITECTURES[self.options.architecture]().to(self.device)
        network.load_state_dict({key: value.half().float() for key, value in self.average.items()})
        rng = np.random.default_rng(77)
        scenes = np.stack([draw_scene(rng, 256, HELD_OUT) for _ in range(6)])[:, None]
        noise = torch.from_numpy(rng.standard_normal(scenes.shape, dtype=np.float32)).to(self.device)
        gains = {}
        for contrast in VALIDATION_CONTRASTS:
            clean = torch.from_numpy(contrast * scenes).float().to(self.device)
            noisy = clean + noise
            deviation, mean = torch.std_mean(noisy, (1, 2, 3), keepdim=True)
            mse = (network(noisy, mean, deviation) - clean).square().mean((1, 2, 3))
            gains[f"{contrast:g}"] = round(float(-10 * torch.log10(mse).mean()), 2)
        return gains


if __name__ == "__main__":
    main()
