"""ViTs' training step in bfloat16 on a GPU: images a second and model FLOPs utilisation, cvjax and timm (torch.compile) in turns.

    python benchmarks/vit.py [--nets=L/16,B/16] [--batch=256] [--layers=unrolled] [--torch_python=PYTHON] [--rounds=5] [--peak=989e12]

Forward, backward and AdamW, parameters in float32, 224 pixels, images that are on the device. Each half is a process of its own; they take
turns on the same card. Utilisation counts 6 operations a multiply-add and image (forward 2, backward 4), attention included, against
--peak operations a second (989e12: an H100's or H200's dense bfloat16).
"""

import argparse
import os
import statistics
import sys
from pathlib import Path

import train_step

TIMM = {"Ti/16": "vit_tiny_patch16_224", "S/16": "vit_small_patch16_224", "B/16": "vit_base_patch16_224", "L/16": "vit_large_patch16_224"}
MACS = {"Ti/16": 1.25e9, "S/16": 4.60e9, "B/16": 17.6e9, "L/16": 61.6e9}  # of one image at 224 pixels


def main() -> None:
    args = _args()
    if args.half:
        train_step._serve({"cvjax": _cvjax, "timm": _timm}[args.half], args)
        return
    for net in args.nets.split(","):
        pythons = {"cvjax": sys.executable} | ({"timm": args.torch_python} if args.torch_python else {})
        halves = {name: train_step._start(python, name, net, args) for name, python in pythons.items()}
        rounds = {name: [result["wall"] for result in found] for name, found in train_step._in_turns(halves, args.rounds + 1).items()}
        for name, found in rounds.items():
            speed = args.batch / statistics.median(found[1:])
            most = args.batch / min(found[1:])
            print(
                f"{net} {name}: {speed:,.0f} images/s (best {most:,.0f}), {6 * MACS[net] * speed / args.peak:.1%} of the peak", flush=True
            )


def _args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default="L/16,B/16", help=", ".join(TIMM))
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--layers", default="unrolled", help="of cvjax: unrolled, scanned, dots or remat")
    parser.add_argument("--torch_python", help="an interpreter that has torch and timm; cvjax alone when not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="steps per round")
    parser.add_argument("--peak", type=float, default=989e12)
    parser.add_argument("--half", help=argparse.SUPPRESS)
    parser.add_argument("--net", help=argparse.SUPPRESS)
    return parser.parse_args()


def _cvjax(args: argparse.Namespace):
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the other half is on the card too
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from cvjax import environment

    environment.prepare()
    import jax
    import jax.numpy as jnp
    import optax

    from cvjax import parallel
    from cvjax.models import vit

    model, optimiser = vit.Model(1000, args.net, layers=args.layers, dtype="bfloat16"), optax.adamw(1e-3)
    image = jax.random.normal(jax.random.key(0), (args.batch, 224, 224, 3), jnp.bfloat16)
    batch = parallel.shard(jax.device_get({"image": image, "label": jnp.arange(args.batch) % 1000}))
    params = jax.jit(lambda: model.init(jax.random.key(0), {"image": image[:1]}, train=False)["params"])()

    def step(state, batch):
        params, slots = state

        def loss(params):
            logits = model.apply({"params": params}, batch, train=True)["logits"]
            return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).sum() / args.batch

        gradient = parallel.psum(jax.grad(loss)(params))
        updates, slots = optimiser.update(gradient, slots, params)
        return (optax.apply_updates(params, updates), slots), optax.tree.norm(gradient)

    compiled = parallel.per_device(step, (None, 0), donate=True)
    state = parallel.replicate((params, optimiser.init(params)))

    def once() -> None:
        nonlocal state
        state, norm = compiled(state, batch)
        jax.block_until_ready(norm)

    return once


def _timm(args: argparse.Namespace):
    import timm
    import torch
    from torch.nn.functional import cross_entropy

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_float32_matmul_precision("high")
    net = timm.create_model(TIMM[args.net]).to(device)
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3, fused=device == "cuda")
    x, y = torch.randn(args.batch, 3, 224, 224, device=device), torch.arange(args.batch, device=device) % 1000

    def forward() -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16):
            return cross_entropy(net(x), y)

    loss = torch.compile(forward) if device == "cuda" else forward

    def once() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss().backward()
        optimiser.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return once


if __name__ == "__main__":
    main()
