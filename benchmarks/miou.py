"""Accumulating mIoU over label maps of 1024 x 2048 against torchmetrics' MulticlassJaccardIndex, and what boundary F1 costs beside it.

    python benchmarks/miou.py --torch_python=PYTHON [--images=50] [--rounds=5]

PYTHON: an interpreter that has torch and torchmetrics. Each half is a process of its own that draws the same maps (19 classes in blocks,
5 % ignored, 20 % wrong); they take turns, `--images` maps a round, one by one. Both keep the whole confusion matrix and must give the same
19 IoUs. torchmetrics takes int64, as an argmax gives, with its checks of the values, and uint8 without them. Printed: seconds
for 500 maps (best of the rounds), and torchmetrics' time over ours, round by round. Boundary F1 is timed on the maps without their
scattered mistakes, as networks make them.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import train_step

SIZE, CLASSES, DIFFERENT = (1024, 2048), 19, 5
THEIRS = ("int64", "uint8-unchecked")
OURS = ("confusion", "boundary")


def main() -> None:
    args = _args()
    if args.half:
        train_step._serve(_ours if args.half in OURS else _theirs, args)
        return
    pythons = dict.fromkeys(OURS[:1], sys.executable) | dict.fromkeys(THEIRS, args.torch_python) | dict.fromkeys(OURS[1:], sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        halves = {name: train_step._start(python, name, f"{folder}/{name}.json", args) for name, python in pythons.items()}
        rounds = train_step._in_turns(halves, args.rounds)
        _check_same(Path(folder))
    _report(rounds)


def _args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch_python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", dest="steps", type=int, default=50, help="maps a round")
    parser.add_argument("--half", help=argparse.SUPPRESS)
    parser.add_argument("--net", help=argparse.SUPPRESS)
    return parser.parse_args()


def _maps(scattered: bool = True) -> list:
    """(labels, prediction), uint8 h w, by NumPy alone, so that both halves have the same."""
    import numpy as np

    draw, found = np.random.default_rng(0), []
    for _ in range(DIFFERENT):
        labels = draw.integers(CLASSES, size=(SIZE[0] // 32, SIZE[1] // 32), dtype=np.uint8).repeat(32, 0).repeat(32, 1)
        wrong = draw.integers(CLASSES, size=SIZE, dtype=np.uint8)
        prediction = np.where(draw.random(SIZE) < 0.2, wrong, labels) if scattered else np.roll(labels, 4, (0, 1))
        found.append((np.where(draw.random(SIZE) < 0.05, np.uint8(255), labels), prediction))
    return found


def _ours(args: argparse.Namespace):
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from itertools import cycle

    from cvjax.metrics import boundary
    from cvjax.metrics.confusion import SegmentationScores, pairs

    scores = SegmentationScores([str(i) for i in range(CLASSES)])
    maps = cycle(_maps(scattered=args.half == "confusion"))

    def count() -> None:
        scores._pairs += pairs(*next(maps))

    def iou() -> list[float]:
        return [scores.result()[f"IoU/{i}"] for i in range(CLASSES)]

    if args.half == "confusion":
        _write(args, count, iou)
    return count if args.half == "confusion" else lambda: boundary.f1(*next(maps))


def _theirs(args: argparse.Namespace):
    from itertools import cycle

    import torch

    train_step._torchvision()  # torchmetrics imports it
    from torchmetrics.classification import MulticlassJaccardIndex

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    kind, _, unchecked = args.half.partition("-")
    metric = MulticlassJaccardIndex(CLASSES, average=None, ignore_index=255, validate_args=not unchecked)
    maps = cycle([[torch.from_numpy(x).to(getattr(torch, kind))[None] for x in pair] for pair in _maps()])

    def once() -> None:
        labels, prediction = next(maps)
        metric.update(prediction, labels)

    _write(args, once, lambda: metric.compute().tolist())
    return once


def _write(args: argparse.Namespace, once, scores) -> None:
    """The numbers of each of the maps once, into the file that is called args.net."""
    for _ in range(DIFFERENT):
        once()
    Path(args.net).write_text(json.dumps(scores()))


def _check_same(folder: Path) -> None:
    """Stops where the halves did not give the same 19 numbers, but for float32's rounding."""
    ours, *theirs = (json.loads((folder / f"{name}.json").read_text()) for name in ("confusion", *THEIRS))
    worst = max(abs(a - b) for found in theirs for a, b in zip(ours, found, strict=True))
    print(f"{CLASSES} IoUs of both, largest difference {worst:.1e}")
    assert worst < 1e-6


def _report(rounds: dict[str, list[dict]]) -> None:
    for name, results in rounds.items():
        best = {clock: 500 * min(result[clock] for result in results) for clock in ("wall", "cpu")}
        print(f"{name:16} 500 maps: {best['wall']:7.1f} s, {best['cpu']:7.1f} CPU-s", end="")
        for clock in ("wall", "cpu"):
            ratios = [theirs[clock] / ours[clock] for ours, theirs in zip(rounds["confusion"], results, strict=True)]
            print(f"; {clock} over ours {statistics.median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f})", end="")
        print(flush=True)


if __name__ == "__main__":
    main()
