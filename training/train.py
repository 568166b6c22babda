"""Train a denoising network on synthetic scenes and export its weights with a model card.

    python -m training.train --minutes 75 --out runs/unet           (in the root of the repository)
    python -m training.train --minutes 30 --out runs/unet --resume  (goes on, rate from its present height)

The contract: unit noise in, any contrast up to 100.  A checkpoint is written every ten minutes, and
at Ctrl-C; the exported weights are an exponential average over the steps.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
import time
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

CONTRASTS = (0.05, 100.0)
WEAK_CONTRASTS = (0.002, 0.05)  # nothing to see: the network has to learn to return nothing
WEAK_SHARE = 0.15
LOSS_FLOOR = 3e-5  # squared error, in units of the noise, below which nothing is gained
CHECKPOINT_S = 600
AVERAGE = 0.999  # of the weights, per step
VALIDATION_CONTRASTS = (0.003, 0.1, 0.5, 2.0, 10.0, 50.0)


@dataclass(frozen=True)
class Options:
    """Everything that makes a training what it is."""

    architecture: str = "unet"
    minutes: float = 60.0
    seed: int = 0
    scenes: int = 3000
    side: int = 256
    patch: int = 128
    batch: int = 5
    rate: float = 1e-3
    loss: str = "log"
    device: str = "auto"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in asdict(Options()).items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint, log and export")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in OUT")
    parser.add_argument("--start", type=Path, help="begin with these exported weights")
    arguments = vars(parser.parse_args())
    out, resume, start = (arguments.pop(name) for name in ("out", "resume", "start"))
    options = Options(**arguments)
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
    with ProcessPoolExecutor() as pool:
        scenes = list(pool.map(draw, range(options.scenes), chunksize=20))
    return torch.from_numpy(np.stack(scenes))


def _log_uniform(limits: tuple[float, float], share: Tensor) -> Tensor:
    low, high = (math.log(limit) for limit in limits)
    return torch.exp(low + (high - low) * share)


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
        limit = 60 * self.options.minutes
        began = saved = time.monotonic()
        before, losses = self.seconds, []
        while (passed := time.monotonic() - began) < limit:
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
            error = self.network(noisy, mean, deviation) - clean
        mse = error.square().mean((1, 2, 3))
        loss = (torch.log(mse + LOSS_FLOOR) if self.options.loss == "log" else torch.sqrt(mse + 1e-4)).mean()
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
        weak = uniform() < WEAK_SHARE
        contrast = torch.where(
            weak, _log_uniform(WEAK_CONTRASTS, uniform()), _log_uniform(CONTRASTS, uniform())
        )
        contrast = contrast.to(self.device)
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
        """Begin with exported weights."""
        weights = {name: value.float() for name, value in load_file(path).items()}
        self.network.load_state_dict(weights)
        self.average = {name: value.to(self.device) for name, value in weights.items()}
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
