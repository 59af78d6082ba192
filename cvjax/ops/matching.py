"""Who belongs to whom at the least cost: optimal bipartite assignment on the device, a batch at once.

Shortest augmenting paths (Jonker & Volgenant 1987; Crouse 2016, "On implementing 2D rectangular assignment algorithms", which is scipy's),
exact but for the rounding of float32. Every target first asks for its cheapest query, and the first to ask gets it; for a trained network
nearly all are matched then. Only real targets that went away empty search a path, so that padding costs nothing. The whole search is
one loop whose every turn is a step of Dijkstra's or a change of partners, hence a batch takes as many turns as its slowest example in
all, not as the sum over targets of the slowest at each.

b batch · q queries · n targets (padded)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int32

BEYOND = 1e30  # finite costs count as no larger; their sums stay finite in float32


def assign(costs: Float[Array, "b q n"], valid: Bool[Array, "b n"]) -> Int32[Array, "b n"]:
    """The query of each target at the least total cost over the real targets, each query at most once; -1 where not `valid`.

    With more real targets than queries the cheapest q of them are matched and the others get -1, as in scipy. A NaN or infinite cost
    is dearer than all finite ones together: it is taken only where nothing else is left. No gradient passes.
    """
    queries, n = costs.shape[1:]
    if not n:
        return jnp.zeros(valid.shape, jnp.int32)
    costs = lax.stop_gradient(costs).astype(jnp.promote_types(costs.dtype, jnp.float32))
    costs = _finite(costs.swapaxes(1, 2), valid)
    # Stand-ins of queries, just as many as there are too many targets, so that whatever they cost all queries are taken.
    costs = jnp.pad(costs, ((0, 0), (0, 0), (0, max(0, n - queries))))
    usable = jnp.arange(costs.shape[2])[None] < jnp.maximum(queries, valid.sum(1, keepdims=True))
    query = jax.vmap(_assign)(costs, valid, usable)
    return jnp.where(query < queries, query, -1)


def _finite(costs: Float[Array, "b n q"], valid: Bool[Array, "b n"]) -> Float[Array, "b n q"]:
    """Costs that can be added: those not finite above every sum of the others."""
    real = valid[:, :, None] & jnp.isfinite(costs)
    costs = jnp.where(real, jnp.clip(costs, -BEYOND, BEYOND), 0)
    never = 2 * (costs.shape[1] + 1) * jnp.abs(costs).max((1, 2), keepdims=True, initial=0) + 1
    return jnp.where(real, costs, never)


class _Search(NamedTuple):
    """What the search of one example knows. Targets and queries by number, -1 is none."""

    price: Array  # r floats, at most 0: the dual variables of the queries; a target's own follows from its query's
    query: Array  # n: of each target
    target: Array  # r: of each query
    distance: Array  # r: of each query from the root
    before: Array  # r: the target from which each was reached
    closed: Array  # r: there is no shorter way to it
    root: Array  # the target that searches; -1 when all have found
    here: Array  # the target looked from
    via: Array  # the query through which it was reached
    ending: Array  # whether a free query is found, and partners change from `via` back to the root


def _assign(costs: Float[Array, "n r"], valid: Bool[Array, "n"], usable: Bool[Array, "r"]) -> Int32[Array, "n"]:
    found = lax.while_loop(lambda s: s.root >= 0, lambda s: _turn(costs, valid, usable, s), _start(costs, valid, usable))
    return found.query


def _start(costs: Float[Array, "n r"], valid: Bool[Array, "n"], usable: Bool[Array, "r"]) -> _Search:
    """Each target at its cheapest query if it is the first that asks for it."""
    n, r = costs.shape
    asked = jnp.where(usable[None], costs, jnp.inf).argmin(1).astype(jnp.int32)
    asks = valid[:, None] & (asked[:, None] == jnp.arange(r)[None])
    target = jnp.where(asks.any(0), asks.argmax(0), -1).astype(jnp.int32)
    query = jnp.where(valid & (target[asked] == jnp.arange(n)), asked, -1)
    root = _next_root(query, valid)
    none, nothing = jnp.int32(-1), jnp.zeros(r, bool)
    return _Search(jnp.zeros_like(costs[0]), query, target, jnp.full_like(costs[0], jnp.inf), target, nothing, root, root, none, root < -1)


def _turn(costs: Float[Array, "n r"], valid: Bool[Array, "n"], usable: Bool[Array, "r"], s: _Search) -> _Search:
    """Looks on from one target, or changes one pair of partners; where a free query is found, both."""
    n, r = costs.shape
    numbers = jnp.arange(r)
    row = costs[s.here] - s.price
    way = row + jnp.where(s.via < 0, 0, s.distance[s.via] - row[s.via])
    closer = ~s.closed & ~s.ending & (way < s.distance)
    distance, before = jnp.where(closer, way, s.distance), jnp.where(closer, s.here, s.before)
    nearest = jnp.where(usable & ~s.closed, distance, jnp.inf).argmin().astype(jnp.int32)
    here = s.target[nearest]
    found = (here < 0) & ~s.ending
    price = jnp.where(found & s.closed, s.price - (distance[nearest] - distance), s.price)

    changes = found | s.ending
    query = jnp.where(found, nearest, s.via)
    target = before[query]
    others = s.query[target]  # until now
    at_root = changes & (target == s.root)
    new = _Search(
        price=price,
        query=jnp.where(changes & (jnp.arange(n) == target), query, s.query),
        target=jnp.where(changes & (numbers == query), target, s.target),
        distance=jnp.where(at_root, jnp.inf, distance),
        before=before,
        closed=(s.closed | (numbers == nearest)) & ~at_root,
        root=s.root,
        here=here,
        via=jnp.where(changes, others, nearest),  # -1 at the root
        ending=changes & ~at_root,
    )
    root = jnp.where(at_root, _next_root(new.query, valid), s.root)
    return new._replace(root=root, here=jnp.where(at_root, root, here))


def _next_root(query: Int32[Array, "n"], valid: Bool[Array, "n"]) -> Int32[Array, ""]:
    waits = valid & (query < 0)
    return jnp.where(waits.any(), waits.argmax(), -1).astype(jnp.int32)
