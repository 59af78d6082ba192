"""`launch.py list`: found by looking, told by docstrings, nothing imported."""

from pathlib import Path

import pytest

from cvjax.listing import entries, first_line, listing


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {
        "experiments/one.py": '"""First experiment.\n\nMore."""\nraise SystemExit("must not run")\n',
        "experiments/sweeps/lr.py": '"""Learning rates."""\n',
        "cvjax/models/net.py": '"""A [network] (2015)."""\nimport there_is_no_such_module\n',
        "cvjax/models/_private.py": '"""Hidden."""\n',
        "cvjax/models/bare.py": "x = 1\n",
        "cvjax/data/broken.py": "def (:\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_entries_are_named_as_one_types_them(root: Path):
    found = {heading: [tuple(entry) for entry in group] for heading, group in entries(root).items()}
    assert found == {
        "Experiments": [("experiments/one.py", "First experiment.")],
        "Sweeps": [("experiments/sweeps/lr.py", "Learning rates.")],
        "Models": [("bare", "(no docstring)"), ("net", "A [network] (2015).")],
        "Data sources": [("broken", "(does not parse: invalid syntax, line 1)")],
    }


def test_piped_list_is_plain_ascii(root: Path):
    text = listing(root, terminal=False)
    assert text.isascii() and "\x1b" not in text
    assert "  net                       A [network] (2015)." in text.splitlines()  # one line an entry, however long


def test_terminal_list_is_coloured_and_keeps_brackets(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    text = listing(root, terminal=True)
    assert "\x1b[" in text and "A [network] (2015)." in text


def test_nothing_there_says_where_it_looked(tmp_path: Path):
    assert str(tmp_path) in listing(tmp_path, terminal=False) and "experiments" in listing(tmp_path, terminal=False)


def test_every_listed_file_of_this_project_has_a_first_line():
    for group in entries().values():
        for entry in group:
            assert not entry.text.startswith("("), entry


def test_first_line_of_bytes_that_are_no_text(tmp_path: Path):
    (tmp_path / "x.py").write_bytes(b'"""\xff\xfe"""')
    assert first_line(tmp_path / "x.py") == "(not UTF-8 text)"
