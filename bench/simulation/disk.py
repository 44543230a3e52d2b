"""A disk in memory that tells apart what is written, what is durable, and what a name points to.

A kill keeps everything written. A power cut keeps, drops or tears each write since the last sync of its file, and keeps
or drops each name made, changed or removed since the last sync of its folder. Folders themselves are durable when they
are made, as `shared.files.Files` makes them.
"""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random

import pyarrow as pa


class Killed(BaseException):
    """The process is no more. Nothing of the product catches it."""


def is_injected(error: OSError) -> bool:
    """Whether a fault of the history explains an error."""
    return error.errno in (errno.EIO, errno.ENOSPC)


class Node:
    """A file without its name."""

    __slots__ = ("data", "durable", "pending")

    def __init__(self) -> None:
        self.data = bytearray()
        self.durable = b""
        self.pending: list[tuple[int, bytes | None]] = []
        """Since the last sync: (offset, bytes written there), or (size, None) where it was cut."""

    def append(self, data: bytes) -> None:
        self.pending.append((len(self.data), data))
        self.data += data

    def cut(self, size: int) -> None:
        self.pending.append((size, None))
        del self.data[size:]

    def sync(self) -> None:
        if self.pending:
            self.durable = bytes(self.data)
            self.pending.clear()

    def lose_power(self, chance: Random) -> None:
        mode = chance.random()
        if self.pending and mode < 0.7:
            found = bytearray(self.durable)
            for offset, data in self.pending if mode < 0.4 else ():
                _survive(found, offset, data, chance)
            self.data = found
        self.durable = bytes(self.data)
        self.pending.clear()


def _survive(found: bytearray, offset: int, data: bytes | None, chance: Random) -> None:
    """One write, as a power cut leaves it."""
    fate = chance.random()
    if fate < 0.4:
        return
    if data is None:
        del found[offset:]
        return
    if fate < 0.6:
        whole = chance.randrange(len(data) + 1)
        data = data[:whole] + (chance.randbytes(len(data) - whole) if chance.random() < 0.5 else b"")
    if len(found) < offset:
        found.extend(bytes(offset - len(found)))
    found[offset : offset + len(data)] = data


NameOp = tuple[str, str, str, Node | None]
"""What (make, move, remove), path, other path, file."""


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


class Medium:
    """The one disk of a simulated machine."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.names: dict[str, Node] = {}
        self.room: int | None = None
        """Bytes that still fit; None where space is no matter."""
        self._durable_names: dict[str, Node] = {}
        self._name_ops: list[NameOp] = []
        self._children: dict[str, set[str]] = {"": set()}
        self._tables: dict[bytes, tuple[list[pa.Table], dict[str, str]]] = {}

    # --- names ---

    def make(self, path: str) -> Node:
        node = self.names[path] = Node()
        self.make_folder(_folder(path))
        self._children[_folder(path)].add(path.rpartition("/")[2])
        self._name_ops.append(("make", path, "", node))
        return node

    def make_folder(self, path: str) -> None:
        if path not in self._children:
            above, _, name = path.rpartition("/")
            self.make_folder(above)
            self._children[path] = set()
            self._children[above].add(name)

    def drop_folder(self, path: str) -> None:
        if path in self._children and not self._children[path]:
            del self._children[path]
            self._children[_folder(path)].discard(path.rpartition("/")[2])

    def move(self, old: str, new: str) -> None:
        node = self.names.pop(old)
        self._children[_folder(old)].discard(old.rpartition("/")[2])
        self.make_folder(_folder(new))
        self.names[new] = node
        self._children[_folder(new)].add(new.rpartition("/")[2])
        self._name_ops.append(("move", old, new, node))

    def remove(self, path: str) -> None:
        node = self.names.pop(path)
        self._children[_folder(path)].discard(path.rpartition("/")[2])
        self._name_ops.append(("remove", path, "", node))

    def list(self, path: str) -> list[str]:
        return sorted(self._children.get(path, ()))

    def is_folder(self, path: str) -> bool:
        return path in self._children

    def sync_folder(self, folder: str) -> None:
        later = []
        for op in self._name_ops:
            if folder in (_folder(op[1]), _folder(op[2])):
                _apply(self._durable_names, op)
            else:
                later.append(op)
        self._name_ops = later

    # --- tables ---

    def table_bytes(self, groups: Sequence[pa.Table], metadata: dict[str, str]) -> bytes:
        """Bytes that stand for a Parquet file, the same for the same tables: only when they are all there can it be
        read.
        """
        text = io.BytesIO()
        with pa.ipc.new_stream(text, groups[0].schema) as stream:
            for table in groups:
                stream.write_table(table)
        digest = hashlib.sha256(text.getvalue() + repr(sorted(metadata.items())).encode()).hexdigest()
        token = b"PAR1%sPAR1" % digest[:56].encode()
        self._tables[token] = (list(groups), metadata)
        return token

    def groups(self, path: str) -> Iterable[pa.Table] | None:
        """The row groups of a file that can be read, behind a table of none."""
        node = self.names.get(path)
        found = None if node is None else self._tables.get(bytes(node.data))
        return None if found is None else found[0]

    def table(self, path: str) -> tuple[pa.Table, dict[str, str]] | None:
        node = self.names.get(path)
        found = None if node is None else self._tables.get(bytes(node.data))
        return None if found is None else (pa.concat_tables(found[0]), found[1])

    # --- the end of the power ---

    def lose_power(self) -> None:
        mode = self.chance.random()
        for op in self._name_ops:
            if mode < 0.3 or (mode < 0.6 and self.chance.random() < 0.5):
                _apply(self._durable_names, op)
        self._name_ops = []
        self.names = self._durable_names
        self._durable_names = dict(self.names)
        for node in dict.fromkeys(self.names.values()):  # in order: a set of objects has none that a seed gives again
            node.lose_power(self.chance)
        for children in self._children.values():
            children.clear()
        for path in self._children:
            if path:
                self._children[_folder(path)].add(path.rpartition("/")[2])
        for path in self.names:
            self.make_folder(_folder(path))  # it may have been removed after what was in it, and that came back
            self._children[_folder(path)].add(path.rpartition("/")[2])


def _apply(names: dict[str, Node], op: NameOp) -> None:
    """A change of names, as far as what it changes is there."""
    what, path, other, node = op
    if what == "make":
        assert node is not None
        names[path] = node
    elif names.get(path) is node and node is not None:
        del names[path]
        if what == "move":
            names[other] = node


class SimAppender:
    def __init__(self, disk: SimDisk, path: str, node: Node) -> None:
        self._disk = disk
        self._path = path
        self._node = node
        self.size = len(node.data)

    def write(self, data: bytes | memoryview) -> None:
        self._disk.put(self._node, bytes(data), self._path)
        self.size += len(data)

    def sync(self) -> None:
        with self._disk.call("sync", self._path):
            self._node.sync()

    def forget(self, every: int) -> None:
        return

    begin_sync = sync
    is_syncing = False

    def close(self) -> None:
        return


def _lie_about(path: str) -> str:
    """What a process that lies calls the sync of this file."""
    if path.endswith(".log"):
        return "sync_segment"
    return "settle" if "/ckpt-" in path else "sync_table" if ".parquet" in path else ""


class _Call:
    """One changing call of a process to the disk: it may end the process before or after it, or fail."""

    __slots__ = ("_disk", "_late")

    def __init__(self, disk: SimDisk, what: str) -> None:
        self._disk = disk
        self._late = disk.strike(what)

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        if self._late:
            self._disk.die()


class SimDisk:
    """The disk as one process sees it: `shared.files.Disk`, with faults."""

    def __init__(self, medium: Medium) -> None:
        self.medium = medium
        self.is_dead = False
        self.kill_in: int | None = None
        """Changing calls until the process is killed in one of them."""
        self.error_in: int | None = None
        """Changing calls until one of them fails."""
        self.lies: set[str] = set()
        """Calls that do nothing, for mutants: ``truncate``, ``sync_table``, ``sync_segment`` and ``settle`` (the
        sync of a segment or a checkpoint that an earlier life or another process wrote).
        """
        self.calls = 0
        self.watch: Callable[[str, Node, int, bytes], None] | None = None
        """Told of every append as far as it was written: path, file, offset, bytes."""
        self.pause: Callable[[], None] | None = None
        """Called before every call: others may have their turn now."""

    # --- faults ---

    def die(self) -> None:
        self.is_dead = True
        raise Killed

    def strike(self, what: str) -> bool:
        """Before a changing call. Whether the process dies right after it."""
        if self.is_dead:
            raise Killed
        self.calls += 1
        if self.error_in is not None:
            self.error_in -= 1
            if self.error_in < 0:
                self.error_in = None
                raise OSError(errno.EIO, f"injected into {what}")
        if self.kill_in is None:
            return False
        self.kill_in -= 1
        if self.kill_in >= 0:
            return False
        if self.medium.chance.random() < 0.5:
            return True
        self.die()
        return False

    def _begin(self) -> None:
        if self.pause is not None:
            self.pause()

    def call(self, what: str, path: str) -> _Call:
        _check(path)
        return _Call(self, what)

    def put(self, node: Node, data: bytes, path: str) -> None:
        """A write that may be cut short: by a kill, an error or a full disk."""
        chance, medium = self.medium.chance, self.medium
        if self.is_dead:
            raise Killed
        if self.kill_in == 0 and chance.random() < 0.5:
            self._append(node, data[: chance.randrange(len(data) + 1)], path)
            self.die()
        if self.error_in == 0 and chance.random() < 0.5:
            self._append(node, data[: chance.randrange(len(data))] if data else data, path)
        late = self.strike("write")
        if medium.room is not None:
            written = min(len(data), medium.room)
            medium.room -= written
            if written < len(data):
                self._append(node, data[:written], path)
                raise OSError(errno.ENOSPC, f"disk full: {written} of {len(data)} bytes of {path}")
        self._append(node, data, path)
        if late:
            self.die()

    def _append(self, node: Node, data: bytes, path: str) -> None:
        offset = len(node.data)
        node.append(data)
        if self.watch is not None:
            self.watch(path, node, offset, data)

    # --- shared.files.Disk ---

    def appender(self, path: str) -> SimAppender:
        self._begin()
        node = self.medium.names.get(path)
        if node is None:
            with self.call("create", path):
                node = self.medium.make(path)
        return SimAppender(self, path, node)

    def _node(self, path: str) -> Node:
        _check(path)
        if self.is_dead:
            raise Killed
        node = self.medium.names.get(path)
        if node is None:
            raise FileNotFoundError(path)
        return node

    def read(self, path: str, offset: int = 0, size: int = -1) -> bytes:
        self._begin()
        data = self._node(path).data
        return bytes(data[offset:] if size < 0 else data[offset : offset + size])

    def size(self, path: str) -> int | None:
        self._begin()
        _check(path)
        node = self.medium.names.get(path)
        return None if node is None else len(node.data)

    def list(self, path: str) -> list[str]:
        self._begin()
        return self.medium.list("" if path == "." else path)

    def write(self, path: str, data: bytes) -> None:
        self._begin()
        node = self.medium.names.get(path)
        with self.call("open", path):
            if node is None:
                node = self.medium.make(path)
            elif node.data:
                node.cut(0)
        self.put(node, data, path)
        with self.call("sync", path):
            node.sync()

    def truncate(self, path: str, size: int) -> None:
        self._begin()
        node = self._node(path)
        with self.call("truncate", path):
            if "truncate" not in self.lies:
                node.cut(size)

    def sync(self, path: str) -> None:
        self._begin()
        node = self._node(path)
        with self.call("sync", path):
            if _lie_about(path) not in self.lies:
                node.sync()

    def sync_files(self, paths: Sequence[str]) -> None:
        for path in paths:
            self.sync(path)

    def sync_dirs(self, paths: Sequence[str]) -> None:
        for path in paths:
            self.sync_dir(path)

    def sync_dir(self, path: str) -> None:
        self._begin()
        with self.call("sync_dir", path or "."):
            if path and not self.medium.is_folder(path):
                raise FileNotFoundError(path)
            self.medium.sync_folder(path)

    def rename(self, old: str, new: str) -> None:
        self._begin()
        self._node(old)
        with self.call("rename", new):
            if new in self.medium.names or self.medium.is_folder(new):
                raise FileExistsError(new)
            self.medium.move(old, new)

    def replace(self, old: str, new: str) -> None:
        self._begin()
        self._node(old)
        with self.call("replace", new):
            self.medium.move(old, new)

    def remove(self, path: str) -> None:
        self._begin()
        with self.call("remove", path):
            if path in self.medium.names:
                self.medium.remove(path)

    def mkdir(self, path: str) -> None:
        self._begin()
        with self.call("mkdir", path):
            self.medium.make_folder(path)

    def rmdir(self, path: str) -> None:
        self._begin()
        with self.call("rmdir", path):
            self.medium.drop_folder(path)

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
        self._write_tables(path, [table], metadata or {}, durably)

    def write_groups(
        self,
        path: str,
        schema: pa.Schema,
        groups: Iterable[pa.Table],
        compression: str | dict[str, str] = "snappy",
        **options: object,
    ) -> None:
        self._write_tables(path, [schema.empty_table(), *groups], {})

    def read_groups(self, path: str) -> Iterator[pa.Table]:
        self._node(path)
        found = self.medium.groups(path)
        if found is None:
            raise OSError(errno.EINVAL, f"{path} is no whole table")
        yield from itertools.islice(found, 1, None)

    def _write_tables(
        self, path: str, groups: Sequence[pa.Table], metadata: dict[str, str], durably: bool = True
    ) -> None:
        self._begin()
        node = self.medium.names.get(path)
        with self.call("open", path):
            if node is None:
                node = self.medium.make(path)
            elif node.data:
                node.cut(0)
        self.put(node, self.medium.table_bytes(groups, metadata), path)
        if durably:
            self.sync(path)

    def read_table(self, path: str) -> pa.Table:
        self._begin()
        self._node(path)
        found = self.medium.table(path)
        if found is None:
            raise OSError(errno.EINVAL, f"{path} is no whole table")
        return found[0]

    def table_meta(self, path: str) -> tuple[int, dict[str, str]] | None:
        self._begin()
        found = self.medium.table(path)
        return None if found is None else (found[0].num_rows, found[1])

    def free(self) -> tuple[int, int]:
        room = self.medium.room
        return (1 << 40 if room is None else room), 1 << 40


def _check(path: str) -> None:
    if path == ".":
        return
    assert path and not path.startswith("/") and not {"", ".", ".."} & set(path.split("/")), f"unsafe path {path!r}"
