"""A shuffle without a table: which card lies at position i in epoch e? Computed alone, on the host or inside a compiled
step.

The swap-or-not shuffle (Hoang, Morris and Rogaway 2012, "An Enciphering Scheme Based on a Card Shuffle", CRYPTO). In
every round a card x is paired with (key - x) mod n, and a hash of the pair says whether the two swap. Each round is its
own inverse, hence the whole is a bijection on [0, n) for every n, and one position costs the same few operations
whatever n. The same lines run on NumPy and on JAX arrays and give the same numbers, so a streamed run and a cached run
see one order.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

Numbers = jax.Array | np.ndarray
Whole = int | np.integer | Numbers


def shuffle(position: Int[Numbers, "*b"] | int, n: int, seed: Whole, epoch: Whole) -> Int[Numbers, "*b"]:
    """Index of the card at `position` of the shuffled deck, int32.

    Args:
        position: whole numbers in [0, n); any shape.
        n: size of the deck, 1 <= n < 2**31; a Python int.
        seed, epoch: whole numbers, their low 32 bits count; may be traced.
    """
    if not 1 <= n < 2**31:
        raise ValueError(f"a shuffle needs 1 <= n < 2**31, not {n}")
    traced = any(isinstance(x, jax.Array) for x in (position, seed, epoch))
    with np.errstate(over="ignore"):  # uint32 is meant to wrap
        words = _words(_uint32(seed), _uint32(epoch), 2 * rounds(n)).reshape(2, -1)
        pairing, coins = words[0] % np.uint32(n), words[1]
        x = _uint32(position)
        if traced:

            def swap(k, x):
                return _swap_or_not(jnp, x, n, pairing[k], coins[k])

            x = jax.lax.fori_loop(0, rounds(n), swap, jnp.asarray(x), unroll=8)  # unrolled whole it compiles for seconds
        else:
            for key, coin in zip(pairing, coins, strict=True):
                x = _swap_or_not(np, x, n, key, coin)
    return x.astype(np.int32)


def indices(step: Whole, n: int, batch_size: int, seed: Whole) -> Int[Numbers, " b"]:
    """Data set indices of the global batch of a training step, int32.

    An epoch is n // batch_size steps in an order of its own; its last n % batch_size examples are left out, others each
    time.

    Args:
        step: 0-based training step; may be traced.
        n: number of examples.
        batch_size: global batch size, at most n.
        seed: of the run; may be traced.
    """
    if not 1 <= batch_size <= n:
        raise ValueError(f"a batch of {batch_size} needs a data set of at least as many examples, not {n}")
    steps_per_epoch = n // batch_size
    epoch, within = step // steps_per_epoch, step % steps_per_epoch
    return shuffle(within * batch_size + np.arange(batch_size, dtype=np.int32), n, seed, epoch)


def rounds(n: int) -> int:
    """How often to swap: two rounds per bit of n and some more, far beyond where statistics of the order still see a
    trace.
    """
    return 8 * math.ceil((16 + 2 * math.log2(n)) / 8)


def _swap_or_not(xp, x, n, key, coin):
    """One round, its own inverse: the pair's hash is that of its larger card, so both cards read the same coin."""
    partner = xp.where(x <= key, key - x, key + np.uint32(n) - x)
    heads = _mix(xp.maximum(x, partner) ^ coin) >> np.uint32(31)
    return xp.where(heads == 1, partner, x)


def _words(seed, epoch, count: int):
    """`count` uint32 words that depend on every bit of seed and epoch."""
    start = _mix(_mix(seed ^ np.uint32(0x9E3779B9)) + epoch)
    return _mix(start ^ _mix(np.arange(1, count + 1, dtype=np.uint32)))


def _mix(x):
    """A bijection of words in which every bit reaches every other (lowbias32 of Chris Wellons, public domain)."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x21F0AAAD)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0xD35A2D97)
    return x ^ (x >> np.uint32(15))


def _uint32(x):
    return np.uint32(x % 2**32) if isinstance(x, int) else x.astype(np.uint32)
