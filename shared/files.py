"""The disk, one of the four interfaces behind which a simulator can stand; and the only door to the file system.

Every path is relative to the lake, with forward slashes; a path that would leave the lake raises ``UnsafePath``. An
error of any call that writes ends the process (the caller lets it rise): recovery exists only at start.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from shared.appender import O_BINARY, Appender, FileAppender, fsync, write_whole

if TYPE_CHECKING:
    import pyarrow as pa

TMP = ".tmp"
"""Ending of a file that is not finished; no reader's glob matches it."""

_MOST_A_WRITE = 1 << 30
"""Systems write 2 GB at once at the most."""


class UnsafePath(ValueError):
    """A path that does not lie under the lake."""


class Disk(Protocol):
    """Files and tables under one root. `write`, `write_table`, `sync` and `Appender.sync` return when the bytes are
    durable.
    """

    def appender(self, path: str) -> Appender: ...

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes: ...

    def size(self, path: str) -> int | None: ...

    def list(self, path: str) -> list[str]: ...

    def write(self, path: str, data: bytes) -> None: ...

    def truncate(self, path: str, size: int) -> None: ...

    def sync(self, path: str) -> None: ...

    def sync_dir(self, path: str) -> None: ...

    def sync_files(self, paths: Sequence[str]) -> None:
        """As `sync` of each; of hundreds in a small part of the time."""

    def sync_dirs(self, paths: Sequence[str]) -> None:
        """As `sync_dir` of each; of hundreds in a small part of the time."""

    def rename(self, old: str, new: str) -> None:
        """Raises FileExistsError where `new` stands already."""

    def replace(self, old: str, new: str) -> None: ...

    def remove(self, path: str) -> None:
        """A file that is not there is fine; one that another program holds open raises PermissionError (Windows)."""

    def mkdir(self, path: str) -> None: ...

    def rmdir(self, path: str) -> None:
        """Removes a folder if it is empty."""

    def write_table(
        self,
        path: str,
        table: pa.Table,
        compression: str = "snappy",
        metadata: dict[str, str] | None = None,
        *,
        durably: bool = True,
        **options: object,
    ) -> None:
        """Writes, closes, reads back footer and row count, fsyncs unless the caller does. The name should end in
        ``.tmp``: rename when all is well.
        """

    def read_table(self, path: str) -> pa.Table:
        """Raises OSError or ValueError where it cannot be read, `read_groups` too."""

    def write_groups(
        self,
        path: str,
        schema: pa.Schema,
        groups: Iterable[pa.Table],
        compression: str | dict[str, str] = "snappy",
        **options: object,
    ) -> None:
        """As `write_table`, of a table that is never in memory whole: each of `groups` becomes a row group."""

    def read_groups(self, path: str) -> Iterator[pa.Table]:
        """A table a row group at a time."""

    def table_meta(self, path: str) -> tuple[int, dict[str, str]] | None:
        """Rows and metadata of a Parquet file, or None where it is absent or cannot be read."""

    def free(self) -> tuple[int, int]:
        """Bytes free and in all."""


def checksum(disk: Disk, path: str) -> str:
    """SHA-256 of a file, however long. Raises FileNotFoundError."""
    digest = hashlib.sha256()
    at = 0
    while piece := disk.read(path, at, _PIECE):
        digest.update(piece)
        at += len(piece)
    return digest.hexdigest()


_PIECE = 1 << 20
_MOST_KNOWN = 1000


def _write_new(path: Path, data: memoryview, durably: bool) -> None:
    """A file that holds just this."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | O_BINARY, 0o644)
    try:
        for at in range(0, len(data), _MOST_A_WRITE):
            write_whole(fd, data[at : at + _MOST_A_WRITE])
        if durably:
            fsync(fd)
    finally:
        os.close(fd)


def _sync_file(path: Path) -> None:
    fd = os.open(path, os.O_RDWR | O_BINARY)  # Windows flushes writable handles only
    try:
        fsync(fd)
    finally:
        os.close(fd)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # names are durable there without a call
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _rows_on_disk(path: Path) -> int:
    """Of a Parquet file, by its footer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pa.OSFile(str(path)) as file:  # asked for by its path it takes twice as long
        return int(pq.ParquetFile(file).metadata.num_rows)


@contextlib.contextmanager
def _of_damage(path: str) -> Iterator[None]:
    """A schema with a changed byte may be one that the library knows and cannot do: that file is damaged, too."""
    try:
        yield
    except NotImplementedError as error:
        raise ValueError(f"{path} is no table of ours: {error}") from None


_MANY: Final = 8
_WAITING: Final = 8
"""Files from which on they are made durable side by side, and by how many threads."""


class Files:
    """The real disk. `pulse` is called after everything that waits for it: hundreds of files take it seconds to make
    durable, and who is at work must not look dead.
    """

    def __init__(self, root: str | Path, pulse: Callable[[], None] = lambda: None) -> None:
        self.root = Path(root).resolve()
        self._pulse = pulse
        self._known: dict[str, Path] = {}

    def path(self, path: str) -> Path:
        """The absolute path of a lake path. Raises UnsafePath for anything that leads out of the lake."""
        known = self._known.get(path)  # some are asked for many times a second
        if known is not None:
            return known
        parts = path.split("/")
        if not path or any(p in ("", ".", "..") or "\\" in p or "\0" in p or ":" in p for p in parts):
            raise UnsafePath(f"{path!r} is no path inside the lake")
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        found = self._known[path] = self.root.joinpath(*parts)
        return found

    def _folder(self, path: str) -> Path:
        return self.root if path in ("", ".") else self.path(path)

    def appender(self, path: str) -> Appender:
        target = self.path(path)
        try:
            return FileAppender(target, self._pulse)
        except FileNotFoundError:
            self._make(target.parent)
            return FileAppender(target, self._pulse)

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        with self.path(path).open("rb", buffering=0 if size < 0 else -1) as file:  # all of it is read in one go
            if offset:
                file.seek(offset)
            return file.read(size)

    def size(self, path: str) -> int | None:
        try:
            return self.path(path).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def list(self, path: str) -> list[str]:
        try:
            return sorted(os.listdir(self._folder(path)))  # noqa: PTH208 - a day has thousands
        except (FileNotFoundError, NotADirectoryError):
            return []

    def write(self, path: str, data: bytes) -> None:
        target = self.path(path)
        self._make(target.parent)
        _write_new(target, memoryview(data), durably=True)
        self._pulse()

    def truncate(self, path: str, size: int) -> None:
        os.truncate(self.path(path), size)

    def sync(self, path: str) -> None:
        _sync_file(self.path(path))
        self._pulse()

    def sync_dir(self, path: str) -> None:
        self._sync_folder(self._folder(path))

    def sync_files(self, paths: Sequence[str]) -> None:
        if len(paths) < _MANY:
            for path in paths:
                self.sync(path)
        else:
            self._side_by_side(_sync_file, [self.path(path) for path in paths])

    def sync_dirs(self, paths: Sequence[str]) -> None:
        if len(paths) < _MANY:
            for path in paths:
                self.sync_dir(path)
        else:
            self._side_by_side(_sync_folder, [self._folder(path) for path in paths])

    def _side_by_side(self, sync: Callable[[Path], None], paths: Sequence[Path]) -> None:
        """Those who wait at once share what they wait for: the disk is asked once for many."""
        from concurrent.futures import ThreadPoolExecutor  # for hundreds of symbols only

        with ThreadPoolExecutor(_WAITING) as pool:
            for _ in pool.map(sync, paths):  # raises what went wrong with any of them
                self._pulse()

    def _sync_folder(self, folder: Path) -> None:
        _sync_folder(folder)
        self._pulse()

    def _make(self, folder: Path) -> None:
        """A folder and those that lead to it, durable: fsync of what is in it promises nothing about its own name."""
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            self._sync_folder(folder.parent)

    def rename(self, old: str, new: str) -> None:
        target = self.path(new)
        self._make(target.parent)
        if target.exists():  # one writer a folder: nobody can come between
            raise FileExistsError(f"{new} stands already")
        self.path(old).rename(target)
        self._pulse()

    def replace(self, old: str, new: str) -> None:
        self.path(old).replace(self.path(new))

    def remove(self, path: str) -> None:
        self.path(path).unlink(missing_ok=True)

    def mkdir(self, path: str) -> None:
        self._make(self.path(path))

    def rmdir(self, path: str) -> None:
        try:
            self.path(path).rmdir()
        except OSError:
            return

    def write_table(
        self,
        path: str,
        table: pa.Table,
        compression: str = "snappy",
        metadata: dict[str, str] | None = None,
        *,
        durably: bool = True,
        **options: object,
    ) -> None:
        import pyarrow.parquet as pq

        target = self.path(path)
        self._make(target.parent)
        if metadata:
            table = table.replace_schema_metadata(metadata)
        import pyarrow as pa

        made = pa.BufferOutputStream()  # and one call to the system, not a dozen
        pq.write_table(table, made, compression=compression, write_page_checksum=True, **options)
        try:
            _write_new(target, memoryview(made.getvalue()), durably=False)
            rows = _rows_on_disk(target)
            if rows != table.num_rows:
                raise OSError(f"{path}: {rows} rows on disk where {table.num_rows} were written")
            if durably:
                self.sync(path)
        except BaseException:
            with contextlib.suppress(OSError):  # on a full disk its bytes are wanted
                target.unlink()
            raise

    def read_table(self, path: str) -> pa.Table:
        import pyarrow.parquet as pq

        # ParquetFile rather than read_table: a folder named year=2025 must not become a column
        with _of_damage(path), pq.ParquetFile(self.path(path), page_checksum_verification=True) as file:
            return file.read()

    def write_groups(
        self,
        path: str,
        schema: pa.Schema,
        groups: Iterable[pa.Table],
        compression: str | dict[str, str] = "snappy",
        **options: object,
    ) -> None:
        import pyarrow.parquet as pq

        target = self.path(path)
        self._make(target.parent)
        try:
            written = 0
            with pq.ParquetWriter(target, schema, compression=compression, write_page_checksum=True, **options) as file:
                for table in groups:
                    file.write_table(table, row_group_size=max(1, table.num_rows))
                    written += table.num_rows
                    self._pulse()
            rows = _rows_on_disk(target)
            if rows != written:
                raise OSError(f"{path}: {rows} rows on disk where {written} were written")
            self.sync(path)
        except BaseException:
            with contextlib.suppress(OSError):
                target.unlink()
            raise

    def read_groups(self, path: str) -> Iterator[pa.Table]:
        import pyarrow.parquet as pq

        with _of_damage(path), pq.ParquetFile(self.path(path), page_checksum_verification=True) as file:
            for number in range(file.num_row_groups):
                yield file.read_row_group(number)

    def table_meta(self, path: str) -> tuple[int, dict[str, str]] | None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        target = self.path(path)
        try:
            meta = pq.read_metadata(target)
            found = {k.decode(): v.decode() for k, v in (meta.metadata or {}).items() if not k.startswith(b"ARROW:")}
        except (OSError, ValueError, pa.ArrowException):
            return None
        return meta.num_rows, found

    def free(self) -> tuple[int, int]:
        usage = shutil.disk_usage(self.root)
        return usage.free, usage.total
