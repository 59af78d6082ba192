"""Pictures seen a tile at a time, against the same network's one look at the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cvjax import predict, step
from cvjax.config import read
from cvjax.models import unet
from cvjax.schema import assign
from cvjax.tiles import tiled
from cvjax.train import train
from tiny import tiny

WIDE = 24  # pixels to each side that a tiny U-Net can see at most, as a multiple of its stride of 4
SIZES = [(75, 61), (64, 16), (30, 40), (2, 3), (1, 33), (1, 1)]


def noise(height, width, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


@pytest.mark.parametrize("tile, margin", [(16, 0), (16, 7), (1, 0), (100, 20)])
@pytest.mark.parametrize("size", SIZES)
def test_every_pixel_comes_back_to_its_place(size, tile, margin):
    shapes = set()

    def see(window):
        shapes.add(window.shape)
        return {"same": window, "half": window[..., 0] // 2}

    image = noise(*size)
    found = tiled(see, image, tile, margin)
    assert shapes == {(1, tile, tile, 3)} and found["same"].dtype == np.uint8
    np.testing.assert_array_equal(found["same"], image)
    np.testing.assert_array_equal(found["half"], image[..., 0] // 2)


@pytest.fixture(scope="module", params=["same", "valid"])
def network(request):
    """A tiny U-Net as `image h w c -> scores h w k`, and the pixels along the border that it sees otherwise when it sees the whole."""
    model = unet.Model(num_classes=3, variant="tiny", padding=request.param)
    variables = jax.jit(lambda key: model.init(key, {"image": jnp.zeros((1, 8, 8, 3))}, train=False))(jax.random.key(0))
    say = jax.jit(lambda x: model.apply(variables, {"image": x}, train=False)["logits"])
    return say, {"same": WIDE, "valid": 0}[request.param]  # zeros beyond the border where tiles have its mirror image


@pytest.mark.parametrize("size", SIZES)
def test_tiles_say_what_one_look_at_the_whole_says(network, size):
    say, border = network
    image = noise(*size) / np.float32(64) - 2
    found, whole = tiled(say, image, 64, WIDE), np.asarray(say(image[None]))[0]
    assert found.shape == whole.shape == (*size, 3)
    inner = tuple(slice(border, n - border) if n > 2 * border else slice(0) for n in size)
    np.testing.assert_allclose(found[inner], whole[inner], rtol=0, atol=1e-5)


def test_a_margin_below_what_the_network_sees_is_seen(network):
    say, _ = network
    image = noise(90, 90) / np.float32(64) - 2
    difference = np.abs(tiled(say, image, 32, 8) - np.asarray(say(image[None]))[0])
    assert difference[WIDE:-WIDE, WIDE:-WIDE].max() > 1e-3


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train(tiny("segmentation"), folder)
    return folder


def rows(run, tmp_path, tile):
    """What predict draws by, of pictures of very different sizes; by their names."""
    for name, (height, width) in (("large", (150, 131)), ("long", (20, 200)), ("dot", (1, 1))):
        Image.fromarray(noise(height, width)).save(tmp_path / f"{name}.png")
    e, state = predict.finished(assign(read(run), [("image.tile", tile)]), run, "latest", "predict")
    found = {}
    files = predict.pictures([str(tmp_path)], "predict")
    predict.draw_each(e, state, files, tmp_path / "out", "out.jsonl", lambda record, example, row, path: found.update({path.stem: row}))
    return {name: row["prediction"] for name, row in found.items()}


def test_predict_in_tiles_draws_what_predict_at_once_draws(run, tmp_path):
    at_once, in_tiles = rows(run, tmp_path, "()"), rows(run, tmp_path, "(64,24)")
    assert {name: row.shape for name, row in in_tiles.items()} == {"large": (150, 131), "long": (20, 200), "dot": (1, 1)}
    found, expected = (row["large"][WIDE:-WIDE, WIDE:-WIDE] for row in (in_tiles, at_once))
    assert len(np.unique(expected)) > 1 and found.dtype == expected.dtype
    assert (found == expected).mean() > 0.999  # but for ties


def test_predict_warns_of_what_is_unfinished_in_any_tile(run, tmp_path, monkeypatch, capsys):
    """By the mean over the tiles; the last of four has gone wrong."""
    shapes = []

    def see(state, batch):
        shapes.append(batch["image"].shape)
        return {"prediction": np.zeros(batch["image"].shape[:3], np.uint8)}, {"unfinished": np.float32(len(shapes) == 4)}

    monkeypatch.setattr(step, "forward", lambda e: see)
    Image.fromarray(noise(20, 30)).save(tmp_path / "a.png")
    predict.predict_files(assign(read(run), [("image.tile", "(24,4)")]), run, [str(tmp_path / "a.png")], "latest", tmp_path / "out")
    assert shapes == [(1, 24, 24, 3)] * 4
    assert "a.png: unfinished 0.25" in capsys.readouterr().err
