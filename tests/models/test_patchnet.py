"""A window slid over a picture and the convolutions of the whole picture: the same scores, exactly what the windows see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax import describe
from cvjax.models import patchnet


def made(variant, size=(9, 12)):
    model = patchnet.Model(num_classes=4, variant=variant)
    image = jax.random.normal(jax.random.key(1), (1, *size, 3))
    return model, jax.jit(lambda x: model.init(jax.random.key(0), {"image": x}, train=False))(image), image


@pytest.mark.parametrize(("variant", "window"), [("patch32", 32), ("patch14", 14), ("tiny", 14)])
def test_sliding_windows_equal_convolutions(variant, window):
    assert patchnet.VARIANTS[variant].window == window
    model, variables, image = made(variant)
    whole = jax.jit(lambda x: model.apply(variables, {"image": x}, train=False)["logits"])(image)[0]
    slid = model.clone(sliding=True)
    np.testing.assert_allclose(slid.apply(variables, {"image": image}, train=False)["logits"][0], whole, rtol=1e-4, atol=1e-5)


def test_windows_share_nothing():
    model, _, image = made("patch14")
    cost = {n: describe.multiply_adds(model.clone(sliding=True), {"image": image[:, :n]}) for n in (1, 9)}
    assert cost[9] == 9 * cost[1] > 5 * describe.multiply_adds(model, {"image": image})


def test_a_window_is_all_that_a_label_is_said_from():
    model, variables, image = made("tiny", (40, 40))
    slope = jax.grad(lambda x: model.apply(variables, {"image": x}, train=False)["logits"][0, 20, 21].sum())(image)
    rows, columns = (np.flatnonzero(np.abs(slope[0]).max((1 - axis, 2))) for axis in (0, 1))
    assert rows.min() >= 20 - 6 and rows.max() <= 20 + 7 and columns.min() >= 21 - 6 and columns.max() <= 21 + 7


def test_no_such_variant():
    with pytest.raises(ValueError, match="no variant 'patch64'; have 'patch32'"):
        patchnet.Model(num_classes=2, variant="patch64").init(jax.random.key(0), {"image": jnp.zeros((1, 8, 8, 3))}, train=False)
