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

    price: Array  # r floats, of the queries (their dual variables): 0 for free ones, and the further below 0 the more a query is in demand
    query: Array  # n: of each target
    target: Array  # r: of each query
    distance: Array  # r: of each query from the root, the sum of reduced costs on the shortest way so far
    before: Array  # r: the target from which each was reached
    closed: Array  # r: there is no shorter way to it
    root: Array  # the target that searches; -1 when all have found
    here: Array  # the target looked from
    via: Array  # the query through which it was reached, its partner; -1 at the root. While `ending`: the query to be given away next
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
    """Looks on from one target (a step of Dijkstra's), or changes one pair of partners; where a free query is found, both.

    Ways are as long as the sum of their reduced costs, reduced cost = cost - price of target - price of query. Prices keep it at 0 or
    above, as Dijkstra's algorithm needs, and at 0 between partners: a target's price is thus the cost of its own query less that query's
    price, `row[via]`, and need not be stored. `here` is as far from the root as its partner `via`, since a step between partners costs 0;
    the way on to any query is therefore distance[via] + (row - row[via]). The root has no partner yet; its price is taken as 0, which
    changes all ways alike. Once all have partners their cost is the sum of all prices, and no matching can cost less.

    With costs [[1, 2], [1, 4]], a row a target, both ask for query 0 and target 0 has it; target 1 is the root.
    1. From target 1: distance [1, 4]. Query 0 is nearest, closed, and its target 0 is looked from next.
    2. From target 0: way = [1, 2] + (1 - 1), distance [1, 2]. Query 1 is nearest, and free. The price of query 0 falls by 2 - 1 to -1.
       Query 1 goes to the target before it, 0, which gives away query 0.
    3. Query 0 goes to the target before it, 1, the root: done. The cost is 2 + 1 = 3; the prices, 2 and 2 of targets, -1 and 0, sum to 3.
    """
    # A step of Dijkstra's. While partners change it does nothing: nothing is closer, and what it would look from is not used.
    n, r = costs.shape
    numbers = jnp.arange(r)
    row = costs[s.here] - s.price  # reduced by the queries' prices alone
    way = row + jnp.where(s.via < 0, 0, s.distance[s.via] - row[s.via])
    closer = ~s.closed & ~s.ending & (way < s.distance)
    distance, before = jnp.where(closer, way, s.distance), jnp.where(closer, s.here, s.before)
    nearest = jnp.where(usable & ~s.closed, distance, jnp.inf).argmin().astype(jnp.int32)
    here = s.target[nearest]
    found = (here < 0) & ~s.ending
    # What keeps reduced costs from falling below 0 once partners have changed: 0 on the way that was found, no less elsewhere.
    price = jnp.where(found & s.closed, s.price - (distance[nearest] - distance), s.price)

    # A change of partners: `query` goes to the target from which it was reached, whose own query until now is given away in the next turn.
    changes = found | s.ending
    query = jnp.where(found, nearest, s.via)
    target = before[query]
    given_up = s.query[target]  # -1 at the root
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
        via=jnp.where(changes, given_up, nearest),
        ending=changes & ~at_root,
    )
    root = jnp.where(at_root, _next_root(new.query, valid), s.root)
    return new._replace(root=root, here=jnp.where(at_root, root, here))


def _next_root(query: Int32[Array, "n"], valid: Bool[Array, "n"]) -> Int32[Array, ""]:
    waits = valid & (query < 0)
    return jnp.where(waits.any(), waits.argmax(), -1).astype(jnp.int32)
