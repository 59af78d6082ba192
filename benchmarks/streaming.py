"""JPEGs decoded, random-resized-cropped to 224, flipped and batched per second: cvjax's pipeline against torch's
DataLoader.

    python benchmarks/streaming.py --images=FOLDER --torch_python=PYTHON

FOLDER: any folder with JPEGs (searched recursively). PYTHON: an interpreter that has torch and Pillow; the torch half
runs under it, in a process of its own. It does what torchvision's RandomResizedCrop and RandomHorizontalFlip do to PIL
images (bilinear, with Pillow's antialiasing), with torch's usual collation. Rounds of the two alternate; images per
second of wall time and of CPU time (workers included) are printed for each, then the ratios. Both get the same number
of workers.
"""

import argparse
import json
import math
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import train_step

SIZE = 224


def main() -> None:
    args = _args()
    files = sorted(str(path) for path in Path(args.images).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    files = (files * (args.count // len(files) + 1))[: args.count]
    if args.half:
        run = {"cvjax": _cvjax, "torch": _torch}[args.half](files, args)
        _serve(run, args)
        return
    halves = {"cvjax": _start(sys.executable, "cvjax"), "torch": _start(args.torch_python, "torch")}
    rounds = train_step._in_turns(halves, args.rounds + 1)
    _report({name: results[1:] for name, results in rounds.items()}, args)  # the first round warms up


def _args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True)
    parser.add_argument("--torch_python", default=sys.executable)
    parser.add_argument("--count", type=int, default=1280, help="images per round (files repeat)")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--kind", default="thread", help="cvjax's workers: thread or process")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--half", help=argparse.SUPPRESS)
    return parser.parse_args()


# ---- the two pipelines: generators of a started round after another; each item ends one round


def _cvjax(files: list[str], args: argparse.Namespace):
    from functools import partial

    sys.path.insert(0, str(Path(__file__).parents[1]))
    import numpy as np

    from cvjax.data import _augment, _pipeline, folder
    from cvjax.data._source import Info, Source
    from cvjax.data._worker import Task

    items = [folder.Item(file, ("any",)) for file in files]
    source = Source(Info(("any",), len(items)), partial(folder._read, items, {"any": 0}, False))
    rng = np.random.default_rng(0)
    while True:  # a round is a pipeline of its own, that nothing of it is made outside the measured time
        steps = rng.permutation(len(items))[: len(items) // args.batch_size * args.batch_size].reshape(-1, args.batch_size)
        tasks = [Task(step, 0, tuple(indices.tolist())) for step, indices in enumerate(steps)]
        with _pipeline.Batches(source, partial(_view, _augment), 0, tasks, args.workers, args.kind) as batches:
            yield sum(len(batch["image"]) for batch in batches)


def _view(augment, example: dict, rng) -> dict:
    return augment.flip(augment.random_resized_crop(example, rng, SIZE), rng)


def _torch(files: list[str], args: argparse.Namespace):
    import numpy as np
    import torch
    from PIL import Image

    class Files(torch.utils.data.Dataset):
        def __len__(self):
            return len(files)

        def __getitem__(self, index):
            image = Image.open(files[index]).convert("RGB")
            left, top, width, height = _region(*image.size)
            image = image.crop((left, top, left + width, top + height)).resize((SIZE, SIZE), Image.BILINEAR)
            if random.random() < 0.5:
                image = image.transpose(Image.FLIP_LEFT_RIGHT)
            return torch.from_numpy(np.array(image)), 0

    loader = torch.utils.data.DataLoader(
        Files(), args.batch_size, shuffle=True, num_workers=args.workers, drop_last=True, persistent_workers=True
    )
    while True:
        yield sum(len(images) for images, _ in loader)


def _region(width: int, height: int) -> tuple[int, int, int, int]:
    """torchvision's RandomResizedCrop.get_params with its defaults; (left, top, width, height)."""
    for _ in range(10):
        area = width * height * random.uniform(0.08, 1.0)
        aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return random.randint(0, width - w), random.randint(0, height - h), w, h
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    return (width - w) // 2, (height - h) // 2, w, h


# ---- rounds


def _serve(rounds, args: argparse.Namespace) -> None:
    """For each line on stdin one round; answers with its number of images, wall and CPU seconds."""
    for _ in sys.stdin:
        cpu, wall = _cpu_seconds(), time.perf_counter()
        images = next(rounds)
        print(json.dumps({"images": images, "wall": time.perf_counter() - wall, "cpu": _cpu_seconds() - cpu}), flush=True)
    os._exit(0)  # workers that live on would only be waited for


def _cpu_seconds() -> float:
    """Of this process and of its living children, which rusage counts only once they are gone."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    total = own.ru_utime + own.ru_stime
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    for child in children:
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def _start(python: str, half: str) -> subprocess.Popen:
    command = [python, __file__, *sys.argv[1:], f"--half={half}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _report(rounds: dict[str, list[dict]], args: argparse.Namespace) -> None:
    print(f"{args.rounds} rounds of {rounds['cvjax'][0]['images']} images, batch {args.batch_size}, {args.workers} workers each")
    print("            images/s   images/cpu-s")
    for name, results in rounds.items():
        print(f"{name:10} {_median(results, 'wall'):9.0f} {_median(results, 'cpu'):14.0f}")
    for clock, what in (("wall", "images/s"), ("cpu", "images/cpu-s")):
        ratios = [
            ours["images"] / ours[clock] * theirs[clock] / theirs["images"]
            for ours, theirs in zip(rounds["cvjax"], rounds["torch"], strict=True)
        ]
        print(f"cvjax / torch, {what}: median {statistics.median(ratios):.2f}, range {min(ratios):.2f} to {max(ratios):.2f}")


def _median(results: list[dict], clock: str) -> float:
    return statistics.median(result["images"] / result[clock] for result in results)


if __name__ == "__main__":
    main()
