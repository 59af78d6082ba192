"""What a network looks at, taken out of it and drawn: against other ways to compute it, and the sheets that come of it."""

import json
from dataclasses import replace
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cvjax import explain, looks, predict, step
from cvjax.build import build, initial_state
from cvjax.errors import UserError
from cvjax.explain import explain_files
from cvjax.layers.attention import Attention
from cvjax.models import vit
from cvjax.ops import saliency
from cvjax.preprocess import device_eval
from cvjax.reporting.heat import overlay
from cvjax.state import State
from cvjax.train import train
from tiny import tiny

VIT = {"name": "vit", "variant": "mu2/2"}  # of 8 x 8 pixels: 4 x 4 patches and a class token, two heads


def made(**model):
    """An experiment with random parameters everywhere, also where a network starts at 0."""
    e = build(tiny(model=model))
    return e, randomised(initial_state(e)[0])


def randomised(state):
    leaves, tree = jax.tree.flatten(state.params)
    keys = jax.random.split(jax.random.key(3), len(leaves))
    params = tree.unflatten([x + 0.3 * jax.random.normal(key, x.shape) for x, key in zip(leaves, keys, strict=True)])
    return State(step=state.step, params=params, stats=state.stats, opt=())


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (1, 8, 8, 3), np.uint8)


def normalised(e):
    return {"image": device_eval({"image": jnp.asarray(picture())}, e.pixels)["image"]}


def close(found, expected):
    """Rounding is relative to the largest value."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_grad_cam_of_a_network_that_averages_its_last_map_is_its_class_activation_map():
    """ReLU(sum over k of w_kc A_k) / (h w), Selvaraju et al. section 3.1; the head is the only layer after the average."""
    e, state = made(name="resnet", variant=8)
    outputs = e.model.apply(step.variables(state), normalised(e), train=False)
    of_class = state.params["head"]["kernel"][:, outputs["logits"][0].argmax()]
    expected = jax.nn.relu(outputs["stage3"][0] @ of_class) / outputs["stage3"][0, ..., 0].size
    assert expected.max() > 0
    maps, slopes = looks.gradients(e, state)({"image": picture()})
    close(maps, outputs["stage3"])
    close(saliency.grad_cam(maps, slopes)[0], expected)


@pytest.mark.parametrize("pool", ["token", "average"])
def test_slopes_of_tokens_are_those_of_the_network_taken_apart(pool):
    """What the last attention looks at, and what comes of it, written with the layers by themselves."""
    e, state = made(**VIT | {"variant": "mu/2", "pool": pool})
    p = state.params["encoder"]["block1"]
    _, kept = e.model.apply(step.variables(state), normalised(e), train=False, capture_intermediates=True)
    x = kept["intermediates"]["embed"]["__call__"][0]
    seen = nn.LayerNorm(epsilon=1e-6).apply({"params": p["norm1"]}, x)

    def score(seen):
        y = x + Attention(2).apply({"params": p["attention"]}, seen)
        z = nn.LayerNorm(epsilon=1e-6).apply({"params": p["norm2"]}, y)
        hidden = nn.gelu(nn.Dense(128).apply({"params": p["mlp"]["hidden"]}, z), approximate=False)
        y = y + nn.Dense(32).apply({"params": p["mlp"]["out"]}, hidden)
        y = nn.LayerNorm(epsilon=1e-6).apply({"params": state.params["norm"]}, y)
        features = y[:, 0] if pool == "token" else y.mean(1)
        return nn.Dense(7).apply({"params": state.params["head"]}, features).max()

    maps, slopes = looks.gradients(e, state)({"image": picture()})
    assert maps.shape == (1, 4, 4, 32)
    close(maps, saliency.grid(seen))
    close(slopes, saliency.grid(jax.grad(score)(seen)))
    assert np.abs(slopes).max() > 1e-3


@pytest.mark.parametrize("layers", ["scanned", "dots", "remat"])
def test_a_scanned_stack_shows_the_same(layers):
    e, state = made(**VIT | {"layers": layers})
    plain = build(tiny(model=VIT))
    flat = {f"params/{jax.tree_util.keystr(path, simple=True, separator='/')}": np.asarray(x)
            for path, x in jax.tree_util.tree_leaves_with_path(state.params)}  # fmt: skip
    shapes = initial_state(plain)[0].params
    taken = vit.arranged(flat, {})
    params = jax.tree_util.tree_map_with_path(
        lambda path, _: taken[f"params/{jax.tree_util.keystr(path, simple=True, separator='/')}"], shapes
    )
    apart = State(step=state.step, params=params, stats={}, opt=())
    found, expected = (looks.attention(*given)({"image": picture()}) for given in ((e, state), (plain, apart)))
    assert len(found) == len(expected) == 2 and found[0].shape == (1, 2, 17, 17)
    jax.tree.map(close, found, expected)
    found, expected = (looks.gradients(*given)({"image": picture()}) for given in ((e, state), (plain, apart)))
    jax.tree.map(close, found, expected)


def test_layers_come_in_the_order_in_which_they_are_computed():
    """block10 after block9: the first layer's attention is the same without those that follow."""
    e, state = made(**VIT | {"variant": "mu11/2"})
    shorter = build(tiny(model=VIT | {"variant": "mu9/2"}))
    found, first = looks.attention(e, state)({"image": picture()}), looks.attention(shorter, state)({"image": picture()})
    assert len(found) == 11
    jax.tree.map(close, found[:9], first)


def test_a_change_at_the_top_right_is_found_at_the_top_right():
    e, state = made(**VIT | {"variant": "mu/2"})
    look, changed = looks.gradients(e, state), picture()
    changed[:, :2, 6:] = 255 - changed[:, :2, 6:]
    moved = np.abs(look({"image": picture()})[0] - look({"image": changed})[0])[0].sum(-1)
    assert moved[0, 3] > 0 and moved.sum() == moved[0, 3]  # before the only attention every patch is by itself


class NonLocal(nn.Module):
    """8 x 8 places look at a pooled grid of 4 x 4, each at where it lies itself."""

    num_classes: int = 7

    @nn.compact
    def __call__(self, inputs, *, train):
        cell = (jnp.arange(64) // 16) * 4 + (jnp.arange(64) % 8) // 2
        weights = jax.nn.one_hot(cell, 16)[None, None]
        self.sow("attention", "weights", weights)
        x = nn.Conv(4, (3, 3), name="map")(inputs["image"])
        return {"logits": nn.Dense(self.num_classes)(x.mean((1, 2)))}


def test_any_network_that_sows_attention_or_has_maps():
    e = replace(build(tiny()), model=NonLocal())
    state = State(step=jnp.int32(0), params=e.model.init(jax.random.key(0), normalised(e), train=False)["params"], stats={}, opt=())
    panels = explain.of_attention(looks.attention(e, state)({"image": picture()}))
    assert [caption.split("\n")[0] for caption, _, _ in panels] == ["all places", *["from the point"] * 5]
    assert panels[0][0].endswith("at most 1.0 x even") and panels[0][2] is None
    for caption, heat, (row, column) in panels[1:]:
        assert caption.endswith("at most 16.0 x even")  # one of sixteen gets all
        assert heat[int(4 * row), int(4 * column)] == 1 == heat.sum()
    assert panels[3][2] == (2.5 / 8, 6.5 / 8)
    assert looks.gradients(e, state)({"image": picture()})[0].shape == (1, 8, 8, 4)
    with pytest.raises(UserError, match="among the same places"):
        explain.of_rollout(looks.attention(e, state)({"image": picture()}))


def test_heat_lies_where_it_is_and_is_brightest_where_it_is_largest():
    heat = np.zeros((4, 4))
    heat[0, 3] = 5
    sheet = overlay(np.full((64, 64, 3), 90, np.uint8), heat, None).astype(int).sum(-1)
    assert sheet[:12, 52:].min() > sheet[20:].max() and sheet[:12, 52:].min() > sheet[:, :32].max()
    assert (
        overlay(np.full((64, 64, 3), 90, np.uint8), 0 * heat, None) == overlay(np.full((64, 64, 3), 90, np.uint8), 0 * heat, None)[0, 0]
    ).all()
    marked = overlay(np.zeros((64, 64, 3), np.uint8), 0 * heat, (0.75, 0.25))
    black, white = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)
    half = np.array([[0.5, 0.5], [0.5, 1.0]])
    assert overlay(black, half, None)[-1, -1].sum() > overlay(white, half, None)[0, 0].sum() + 50, "what is bright is hot"
    assert (marked[48, 16] == 255).all() and (marked[16, 48] < 50).all()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    models = {
        "vit": VIT,
        "hybrid": {"name": "hybrid", "variant": "R11+Pi3/4"},
        "nonlocal": {"name": "nonlocal_resnet", "variant": 8, "stages": (2,), "block": "embedded_gaussian"},
        "resnet": {"name": "resnet", "variant": 8},
        "mlp": {"name": "mlp", "variant": 1},
    }
    for name, model in models.items():
        train(tiny(model=model, augment={"flip": False}), folder / name)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name, size in (("a.png", (8, 8)), ("deep/b.jpg", (300, 400)), ("deep/a.png", (9, 9))):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", size, (9, 99, 200)).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    return folder


def config_of(run):
    from cvjax.config import read

    return read(run)


@pytest.mark.parametrize("name, method, panels", [
    ("vit", "attention", 4),  # what it says, all heads, two heads
    ("vit", "rollout", 2),
    ("vit", "gradcam", 2),
    ("hybrid", "attention", 5),
    ("hybrid", "rollout", 2),
    ("nonlocal", "attention", 7),  # all places, five points
    ("nonlocal", "gradcam", 2),
    ("resnet", "gradcam", 2),
])  # fmt: skip
def test_a_sheet_for_each_picture(runs, photos, tmp_path, capsys, name, method, panels):
    explain_files(config_of(runs / name), runs / name, [str(photos), str(photos / "a.png")], method, "latest", tmp_path / "out")
    said = capsys.readouterr()
    assert "broken.jpg: skipped" in said.err and "explanations.jsonl" in said.out
    rows = [json.loads(line) for line in (tmp_path / "out" / "explanations.jsonl").read_text().splitlines()]
    assert len(rows) == 4 == len({row["drawn"] for row in rows}) and all(row["classes"] and row["confidence"] for row in rows)
    for row in rows:
        with Image.open(tmp_path / "out" / row["drawn"]) as sheet:
            assert round(sheet.width / (explain.TILE + 22)) == panels


@pytest.mark.parametrize("name, method, says", [
    ("resnet", "attention", "models/resnet.py has no attention to look at; use --method=gradcam"),
    ("resnet", "rollout", "models/resnet.py has no attention"),
    ("nonlocal", "rollout", "rollout follows attention among the same places"),
    ("mlp", "gradcam", "models/mlp.py has no map and no attention"),
])  # fmt: skip
def test_a_method_for_which_a_network_has_nothing(runs, photos, tmp_path, name, method, says):
    with pytest.raises(UserError, match=says):
        explain_files(config_of(runs / name), runs / name, [str(photos)], method, "latest", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_network_that_answers_every_pixel(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "finished", lambda *given: (build(tiny("segmentation")), None))
    with pytest.raises(UserError, match="one answer a picture, and runs/a has one for every pixel; use predict") as found:
        explain_files(tiny("segmentation"), Path("runs/a"), [str(photos)], "gradcam", "latest", tmp_path / "out")
    assert found.value.exit_code == 2 and not (tmp_path / "out").exists()


def test_pictures_are_asked_for_and_texts_are_not_explained(runs, photos, tmp_path, monkeypatch):
    config = config_of(runs / "vit")
    with pytest.raises(UserError, match="explain needs pictures"):
        explain_files(config, runs / "vit", [], "attention", "latest", tmp_path)
    with pytest.raises(UserError, match="there is no /nowhere.png"):
        explain_files(config, runs / "vit", ["/nowhere.png"], "attention", "latest", tmp_path)
    monkeypatch.setattr(predict, "build", lambda *a, **kw: replace(build(*a, **kw), pixels=None))
    with pytest.raises(UserError, match="trained on text; explain is for pictures"):
        explain_files(config, runs / "vit", [str(photos)], "attention", "latest", tmp_path)
