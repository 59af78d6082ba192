"""The probes of segmentation networks: the checkerboard's measure on patterns whose share is known, and what windows cost."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvjax.errors import UserError
from cvjax.models import patchnet
from cvjax.probes import sliding, upsampling

ROWS, COLUMNS = np.mgrid[:24, :20].astype(np.float32)


@pytest.mark.parametrize("pattern", [(-1) ** ROWS, 5 - 3 * (-1) ** COLUMNS, (-1) ** (ROWS + COLUMNS), (-1) ** ROWS + 2 * (-1) ** COLUMNS])
def test_patterns_of_single_pixels_are_all_checkerboard(pattern):
    assert upsampling.checkerboard(jnp.asarray(pattern, jnp.float32)[None, ..., None]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("picture", [ROWS, ROWS * COLUMNS, (ROWS > 11) * 1.0, (-1) ** (ROWS // 2), 0 * ROWS])
def test_slopes_edges_and_coarser_patterns_are_next_to_none(picture):
    assert upsampling.checkerboard(jnp.asarray(picture, jnp.float32)[None, ..., None]) < 0.05


def test_white_noise_has_three_parts_in_sixty_three():
    noise = jax.random.normal(jax.random.key(0), (8, 64, 64, 3))
    assert upsampling.checkerboard(noise) == pytest.approx(3 / 63, rel=0.1)


class Enlarged(nn.Module):
    """Every second pixel of the picture, with zeros between."""

    @nn.compact
    def __call__(self, inputs, *, train):
        coarse = nn.Dense(2, name="head")(inputs["image"][:, ::2, ::2])
        nails = jnp.zeros((*inputs["image"].shape[:3], 2)).at[:, ::2, ::2].set(coarse)
        return {"logits": nails, "scores": coarse}


def test_scores_of_a_network():
    inputs = {"image": jnp.ones((3, 16, 16, 1))}
    variables = Enlarged().init(jax.random.key(0), inputs, train=False)
    found = upsampling.measure(Enlarged(), variables, inputs)
    assert found["checkerboard"] < 1e-9, "of the scores, which are even, not of the nails"
    assert found["multiply_adds"] == 8 * 8 * 2 and found["parameters"] == 4 and found["forward_ms"] > 0


def test_windows_and_convolutions(monkeypatch):
    monkeypatch.setattr(sliding, "SIDES", (4, 8))
    model, inputs = patchnet.Model(num_classes=2, variant="tiny"), {"image": jax.random.normal(jax.random.key(0), (2, 9, 9, 1))}
    found = sliding.measure(model, model.init(jax.random.key(0), inputs, train=False), inputs)
    assert found["scores_apart"] < 1e-5 and found["times_fewer_multiply_adds"] > 5 and found["times_faster"] > 0
    assert found["ms_of_windows"]["x"] == [16, 64] and len(found["windows_over_convolutions"]["y"]) == 2


def test_a_network_that_cannot_slide():
    with pytest.raises(UserError, match="the probe sliding measures networks that can slide, as patchnet"):
        sliding.measure(Enlarged(), {}, {})
