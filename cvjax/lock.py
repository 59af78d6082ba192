"""One process a folder: a lock that a process which dies, however it dies, lets go of. Free of JAX."""

import fcntl
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cvjax.errors import UserError
from cvjax.files import now


@contextmanager
def owned(folder: Path, begun: Callable[[], bool]) -> Iterator[None]:
    """Makes the folder where there is none and holds its lock.

    What was made for something that fails by the user's mistake, before it has `begun`, is taken away again.
    Raises UserError when another process holds the lock, or when the folder cannot be written.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / "lock", "a+")
    except OSError as error:
        raise UserError(f"--workdir={folder} cannot be written: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            owner = lock.read() or "another process"
            raise UserError(f"{folder} is in use by {owner}; wait for it or stop it, or choose another --workdir") from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()} since {now()}")
        lock.flush()
        try:
            yield
        except UserError:
            if made and not begun():
                shutil.rmtree(folder)
                for path in made[1:]:
                    if not any(path.iterdir()):
                        path.rmdir()
            raise


def held(folder: Path) -> bool:
    """Whether a process holds the folder's lock."""
    try:
        with open(folder / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
