import numpy as np
import pytest

from cvjax.data import _spelling, text
from cvjax.errors import UserError

WORDS = "the quick brown fox jumps over the lazy dog\nand the dog sleeps\n" * 40


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text(WORDS)
    return str(path)


@pytest.mark.parametrize("tokens", text.TOKENS)
def test_windows_are_the_text(file, tokens):
    source = text.load("train", root=file, tokens=tokens, length=20, vocabulary=60)
    read = [source[i] for i in range(len(source))]
    assert all(row["tokens"].dtype == np.int32 and row["tokens"].shape == (20,) for row in read)
    whole = _spelling.decode(np.concatenate([row["tokens"] for row in read]), source.info.classes)
    assert whole == WORDS[: len(whole)] and len(WORDS) * 0.9 - len(whole) < 20 * 20
    last = _spelling.decode(read[-1]["tokens"][1:], source.info.classes)
    assert int(read[-1]["characters"]) == len(last)
    assert source.info.length == 20 and source.info.num_examples == len(read)


def test_the_rest_validates_with_the_vocabulary_of_training(file):
    train, val = (text.load(split, root=file, length=10) for split in ("train", "val"))
    assert train.info.classes == val.info.classes and len(val) == 25 and len(train) == 226
    assert text.load("train[:50%]", root=file, length=10)[0]["tokens"].tolist() == train[0]["tokens"].tolist()


def test_pieces_are_fewer_and_found_alike_every_time(file):
    first, again = (text.load("train", root=file, tokens="pieces", length=10, vocabulary=60) for _ in range(2))
    text._encoded.cache_clear()
    assert len(first.info.classes) == 60 and first.info.classes == again.info.classes
    assert len(first) < 0.5 * len(text.load("train", root=file, length=10)) and " the" in first.info.classes


def test_files_of_their_own(tmp_path):
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}.txt").write_text(WORDS if name == "train" else "doge und kühe\n" * 3)
    source = text.load("test", root=str(tmp_path), length=14)
    assert _spelling.decode(source[0]["tokens"], source.info.classes) == f"doge und k{text.UNKNOWN}he\n"
    whole = text.load("val", root=str(tmp_path), tokens="bytes", length=14)
    assert _spelling.decode(whole[0]["tokens"], whole.info.classes) == "doge und kühe"


@pytest.mark.parametrize("tokens", text.TOKENS)
def test_a_prompt_comes_back(file, tokens):
    classes = text.load("train", root=file, tokens=tokens, length=10, vocabulary=60).info.classes
    ids = _spelling.encode("the lazy fox", classes)
    assert _spelling.decode(ids, classes) == "the lazy fox"
    if tokens != "bytes":
        with pytest.raises(UserError, match="'ü' is not in the vocabulary"):
            _spelling.encode("kühe", classes)


@pytest.mark.parametrize(
    ("content", "settings", "said"),
    [
        (b"abc\xff", {}, r"is not UTF-8 \(byte 3\)"),
        (b"", {}, "is empty"),
        (b" \n ", {}, "is empty"),
        (WORDS.encode(), {"length": 300}, "'val' has 252 tokens, fewer than one window of config.data.length=300"),
        (WORDS.encode(), {"tokens": "words"}, "have: characters, bytes, pieces"),
        (WORDS.encode(), {"length": 1}, "at least 2"),
        (WORDS.encode(), {"tokens": "pieces", "vocabulary": 5}, "no 5 pieces can be made"),
    ],
)
def test_mistakes(tmp_path, content, settings, said):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(UserError, match=said):
        text.load("val", root=str(tmp_path / "a.txt"), **settings)


def test_places_without_text(tmp_path):
    with pytest.raises(UserError, match=r"holds no \.txt file"):
        text.load("train", root=str(tmp_path))
    with pytest.raises(UserError, match="cannot be read: No such file"):
        text.load("train", root=str(tmp_path / "none.txt"))
    with pytest.raises(UserError, match="there is no split 'tset'"):
        (tmp_path / "train.txt").write_text(WORDS)
        text.load("tset", root=str(tmp_path))
