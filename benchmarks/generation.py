"""Tokens a second of generation, with a key-value cache and without.

    python benchmarks/generation.py [--variant=gpt-mini] [--lengths=128,512] [--rounds=5]

A GPT of random weights (a vocabulary of 66) goes on from 8 tokens until all places are full, one text at a time, on one JAX device. Without
the cache every token computes all places of the text anew, in one compiled program for all tokens. The two take turns and must write the
same text; compiling is not counted.
"""

import argparse
import os
import statistics
import sys
import time
from functools import partial
from pathlib import Path

PROMPT, VOCABULARY = 8, 66


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default="gpt-mini")
    parser.add_argument("--lengths", default="128,512")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from cvjax import environment

    os.environ["JAX_PLATFORMS"] = "cpu"
    environment.prepare()
    for places in map(int, args.lengths.split(",")):
        _compare(args.variant, places, args.rounds)


def _compare(variant: str, places: int, rounds: int) -> None:
    import jax
    import jax.numpy as jnp

    from cvjax.generate import chosen, written
    from cvjax.models.transformer import Model
    from cvjax.tasks.causal_modelling import following

    length = places - PROMPT
    model, prompt = Model(VOCABULARY, variant, places=places), jnp.arange(PROMPT)[None]
    variables = jax.jit(partial(model.init, train=False))(jax.random.key(0), {"tokens": prompt})
    cached = partial(written, model.clone(decode=True), following, length=length, temperature=1.0, seed=0)

    def whole(variables: dict, prompt: jax.Array) -> jax.Array:
        def another(text: jax.Array, number: jax.Array) -> tuple[jax.Array, jax.Array]:
            """The network sees zeros where nothing is written yet, and does not look there."""
            logits = model.apply(variables, {"tokens": text}, train=False)["logits"]
            token = chosen(logits[:, PROMPT + number - 1], 1.0, 0, number)
            return text.at[:, PROMPT + number].set(token), token

        return jax.lax.scan(another, jnp.pad(prompt, ((0, 0), (0, length))), jnp.arange(length))[1].T

    forms = {"cached": jax.jit(cached), "whole": jax.jit(whole)}
    texts = {name: jax.device_get(form(variables, prompt)) for name, form in forms.items()}
    same = (texts["cached"] == texts["whole"]).mean()
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(rounds):
        for name, form in forms.items():
            start = time.perf_counter()
            jax.block_until_ready(form(variables, prompt))
            seconds[name].append(time.perf_counter() - start)
    speeds = {name: [length / s for s in found] for name, found in seconds.items()}
    ratios = [a / b for a, b in zip(speeds["cached"], speeds["whole"], strict=True)]
    for name, found in speeds.items():
        print(f"{variant}, {places} places, {name}: {statistics.median(found):.0f} tokens/s ({min(found):.0f}-{max(found):.0f})")
    print(
        f"cached / whole {statistics.median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f}); {same:.1%} of the tokens alike", flush=True
    )


if __name__ == "__main__":
    main()
