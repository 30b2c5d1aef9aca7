"""An evaluator on its way to other processes: the memory of its tensors apart from the rest.

Buffers that stand apart lie in the object store once a node, and every worker there maps them instead of copying
them. What a foreign forward pass may write to, the tensors of the network itself, is copied all the same.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ray import cloudpickle
from torch import Tensor
from torch.storage import TypedStorage, UntypedStorage

Buffer = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Parcel:
    """A pickled object and its tensors' memory.

    Attributes:
        body: the pickle; storages are named by their place among the buffers.
        buffers: the bytes of each storage, on the CPU.
        cuda: for each buffer whether it belongs on a CUDA device: the receiver's current one.
        private: for each buffer whether every receiver needs a copy of its own.
    """

    body: bytes
    buffers: tuple[Buffer, ...]
    cuda: tuple[bool, ...]
    private: tuple[bool, ...]

    @property
    def bytes(self) -> int:
        """Size of all that travels."""
        return len(self.body) + sum(buffer.nbytes for buffer in self.buffers)


def pack(thing: Any, private: Iterable[Tensor] = ()) -> Parcel:
    """Make a parcel of anything that cloudpickle takes: lambdas and a script's own classes included.

    Args:
        thing: what travels; tensors that share memory share it again after ``unpack``, strides are kept.
        private: tensors that a receiver may write to.
    """
    file = io.BytesIO()
    packer = _Packer(file, {tensor.untyped_storage().data_ptr() for tensor in private})
    packer.dump(thing)
    found = packer.storages
    return Parcel(
        body=file.getvalue(),
        buffers=tuple(_bytes_of(storage) for storage in found),
        cuda=tuple(storage.device.type == "cuda" for storage in found),
        private=tuple(storage.data_ptr() in packer.private for storage in found),
    )


def unpack(parcel: Parcel) -> Any:
    """What was packed. Tensors that are not private may lie in memory that cannot be written."""
    return _Unpacker(parcel).load()


class _Packer(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO, private: set[int]) -> None:
        super().__init__(file, protocol=5)
        self.private = private
        self.storages: list[UntypedStorage] = []
        self._places: dict[int, int] = {}

    def persistent_id(self, obj: object) -> tuple[int, torch.dtype | None] | None:
        """Place of a storage and how it is read; None for anything else."""
        if isinstance(obj, TypedStorage):
            return self._place(obj._untyped_storage), obj.dtype
        return (self._place(obj), None) if isinstance(obj, UntypedStorage) else None

    def _place(self, storage: UntypedStorage) -> int:
        key = storage.data_ptr() or -id(storage)  # empty storages have no memory to be known by
        if key not in self._places:
            self._places[key] = len(self.storages)
            self.storages.append(storage)
        return self._places[key]


class _Unpacker(pickle.Unpickler):
    def __init__(self, parcel: Parcel) -> None:
        super().__init__(io.BytesIO(parcel.body))
        parts = zip(parcel.buffers, parcel.cuda, parcel.private, strict=True)
        self._storages = [_storage(*part) for part in parts]

    def persistent_load(self, place: tuple[int, torch.dtype | None]) -> TypedStorage | UntypedStorage:
        """The storage at a place."""
        index, dtype = place
        storage = self._storages[index]
        return storage if dtype is None else TypedStorage(wrap_storage=storage, dtype=dtype, _internal=True)  # type: ignore[no-untyped-call]


def _bytes_of(storage: UntypedStorage) -> Buffer:
    whole = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
    found: Buffer = whole.cpu().numpy()
    return found


def _storage(buffer: Buffer, cuda: bool, private: bool) -> UntypedStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of memory that cannot be written; nobody does
        tensor = torch.from_numpy(buffer)
    if cuda:
        return tensor.cuda().untyped_storage()
    return (tensor.clone() if private else tensor).untyped_storage()
