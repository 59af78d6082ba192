"""Text for language modelling: windows of bytes, characters, or pieces that SentencePiece's byte-pair encoding finds in it.

    root/train.txt  root/val.txt  root/test.txt    or one file, or a folder of .txt files, whose last part is for validation

The vocabulary is that of the training text alone, and U+FFFD for characters that it does not have; bytes know them all.
"""

import functools
from functools import partial
from pathlib import Path

import numpy as np

from cvjax.data import _spelling
from cvjax.data._source import Info, Source, select
from cvjax.errors import UserError

UNKNOWN = "\ufffd"
TOKENS = ("characters", "bytes", "pieces")


def load(
    split: str, *, root: str, tokens: str = "characters", length: int = 128, vocabulary: int = 1000, val_fraction: float = 0.1
) -> Source:
    """Records: `tokens`, int32 of `length`, and `characters`, how many the tokens after the first stand for. Windows do not overlap.

    Args:
        split: "train", "val" (and "test", where there is a file), sliced as TFDS does.
        root: a .txt file, or a folder.
        tokens: "characters", "bytes", or "pieces", of which there are `vocabulary`, learned by byte-pair encoding.
        val_fraction: of a text that is not divided into files, the last part, which is "val".

    Raises:
        UserError: a file that is not there, is empty or is not UTF-8; a window longer than the text.
    """
    if tokens not in TOKENS:
        raise UserError(f"config.data.tokens is '{tokens}'; have: {', '.join(TOKENS)}")
    if length < 2 or vocabulary < 2 or not 0 < val_fraction < 1:
        given = f"length={length}, vocabulary={vocabulary}, val_fraction={val_fraction}"
        raise UserError(f"config.data: {given}; the first two are at least 2, the fraction is between 0 and 1")
    classes, ids = _encoded(root, val_fraction, tokens, vocabulary)
    windows = {name: range(len(found) // length) for name, found in ids.items()}
    for name, found in ids.items():
        if not windows[name]:
            raise UserError(f"{root}: '{name}' has {len(found)} tokens, fewer than one window of config.data.length={length}")
    places = select(split, {name: [(name, i) for i in n] for name, n in windows.items()})
    lengths = np.array([1 if tokens == "bytes" else len(name) for name in classes])
    info = Info(classes, len(places), "text", length=length)
    return Source(info, partial(_read, places, ids, lengths, length), partial(_name, root, places, length))


def _read(places: list, ids: dict[str, np.ndarray], lengths: np.ndarray, length: int, index: int) -> dict:
    name, number = places[index]
    window = ids[name][number * length : (number + 1) * length]
    return {"tokens": window, "characters": np.int32(lengths[window[1:]].sum())}


def _name(root: str, places: list, length: int, index: int) -> str:
    name, number = places[index]
    return f"{root}, {name} from token {number * length}"


@functools.cache  # both splits ask
def _texts(root: str, val_fraction: float) -> dict[str, str]:
    """Split -> text."""
    path = Path(root)
    named = (
        {file.stem: _text(file) for file in sorted(path.glob("*.txt")) if file.stem in ("train", "val", "test")} if path.is_dir() else {}
    )
    if "train" in named:
        return named
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    if not files:
        raise UserError(f"{root} holds no .txt file")
    whole = "".join(map(_text, files))
    cut = round(len(whole) * (1 - val_fraction))
    return {"train": whole[:cut], "val": whole[cut:]}


def _text(file: Path) -> str:
    try:
        text = file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 (byte {error.start}); convert it: iconv -f latin1 -t utf-8") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from None
    if not text.strip():
        raise UserError(f"{file} is empty")
    return text


@functools.cache
def _encoded(root: str, val_fraction: float, tokens: str, vocabulary: int) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """The vocabulary, and the tokens of every split."""
    texts = _texts(root, val_fraction)
    if tokens == "bytes":
        return _spelling.BYTES, {name: np.frombuffer(text.encode(), np.uint8).astype(np.int32) for name, text in texts.items()}
    known = np.unique(_points(texts["train"]))
    if tokens == "characters":
        ids = {name: _points(text) for name, text in texts.items()}
        ids = {name: np.where(np.isin(x, known), np.searchsorted(known, x), len(known)).astype(np.int32) for name, x in ids.items()}
        return (*map(chr, known), UNKNOWN), ids
    return _pieces(root, texts, vocabulary)


def _points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def _pieces(root: str, texts: dict[str, str], vocabulary: int) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909) by SentencePiece; every character of the text is a piece too."""
    import io

    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts["train"].split("\n")), model_writer=model, model_type="bpe", vocab_size=vocabulary,
            character_coverage=1.0, add_dummy_prefix=False, remove_extra_whitespaces=False, normalization_rule_name="identity",
            user_defined_symbols=["\n"], bos_id=-1, eos_id=-1, unk_id=0, num_threads=1, minloglevel=2,
        )  # fmt: skip
    except RuntimeError as error:
        raise UserError(f"{root}: no {vocabulary} pieces can be made of the training text ({str(error).splitlines()[-1]})") from None
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    names = (processor.id_to_piece(i).replace("\u2581", " ") for i in range(1, processor.vocab_size()))
    return (UNKNOWN, *names), {name: np.asarray(processor.encode(text), np.int32) for name, text in texts.items()}
