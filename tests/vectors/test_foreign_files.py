"""Vector files as other tools write them: raw tensors, every float, both byte orders."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lrt_bench.errors import UserError
from lrt_bench.steering.sweep import unit
from lrt_bench.vectors.formats.rows import ASSUMED
from lrt_bench.vectors.vector import SteeringVector
from lrt_bench.vectors.vector_files import read_vector, write_vector

pytestmark = pytest.mark.slow  # whole runs

ROW = torch.randn(48, generator=torch.Generator().manual_seed(3))
SHAPES = {"[d]": (48,), "[1, d]": (1, 48), "[1, 1, d]": (1, 1, 48)}


def write_gguf(path: Path, tensors: dict[str, np.ndarray], kinds=None, *, big=False, fields=0) -> Path:
    """A control vector as the gguf package writes it."""
    from gguf import GGMLQuantizationType, GGUFEndian, GGUFWriter

    writer = GGUFWriter(path, "controlvector", endianess=GGUFEndian.BIG if big else GGUFEndian.LITTLE)
    writer.add_string("controlvector.model_hint", "llama")
    for index in range(fields):
        writer.add_string(f"x.{index}", "y")
    for name, tensor in tensors.items():
        kind = (kinds or {}).get(name)
        writer.add_tensor(name, tensor, raw_dtype=None if kind is None else GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_raw_tensors_are_read_in_every_shape_and_float(tmp_path, shape, dtype):
    tensor = ROW.to(dtype).reshape(shape)
    torch.save(tensor, tmp_path / "lone.pt")
    torch.save({2: tensor, "13": tensor * 2, "mean": torch.eye(3), "note": "x"}, tmp_path / "table.pt")
    torch.save({"vector": tensor, "strength": torch.ones(1)}, tmp_path / "named.pt")
    torch.save(torch.nn.Parameter(tensor), tmp_path / "parameter.pth")
    save_file({"layer.2": tensor, "layers_13": tensor * 2}, tmp_path / "v.safetensors", {"format": "pt"})
    save_file({"steering_vector": tensor}, tmp_path / "lone.safetensors")
    expected = ROW.to(dtype).float()
    for name in ("lone.pt", "table.pt", "named.pt", "parameter.pth", "v.safetensors", "lone.safetensors"):
        assert torch.equal(
            read_vector(tmp_path / name, "steering-vectors" if "pt" in name else None, 2).at(2), expected
        )
    for name in ("table.pt", "v.safetensors"):
        vector = read_vector(tmp_path / name)
        assert list(vector.layers) == [2, 13]
        assert torch.equal(vector.at(13), 2 * expected)
        assert "counted from 1" in vector.provenance[ASSUMED]
    if dtype != torch.bfloat16:
        np.save(tmp_path / "v.npy", tensor.numpy())
        assert torch.equal(read_vector(tmp_path / "v.npy", layer=7).at(7), expected)


def test_arrays_of_the_other_byte_order_are_the_same_numbers(tmp_path):
    np.save(tmp_path / "v.npy", ROW.numpy().astype(">f8"))
    assert torch.equal(read_vector(tmp_path / "v.npy", layer=1).at(), ROW)


@pytest.mark.parametrize("big", [False, True], ids=["little", "big"])
def test_control_vectors_in_every_float_and_byte_order(tmp_path, big):
    row = ROW.numpy()
    order = ">" if big else "<"
    bfloat = ROW.bfloat16().view(torch.int16).numpy().astype(f"{order}i2").view(np.uint8)
    tensors = {
        "direction.1": row, "direction.2": row.astype(np.float16), "direction.3": row.astype(np.float64),
        "direction.4": row[None], "direction.5": bfloat, "direction.6": row * 0,
        "mean.1": np.ones((3, 48), np.float32), "strength": np.ones(1, np.float32),
    }  # fmt: skip
    path = write_gguf(tmp_path / "v.gguf", tensors, {"direction.5": "BF16"}, big=big, fields=300)
    vector = read_vector(path)
    assert list(vector.layers) == [2, 3, 4, 5, 6], (
        "block N is layer N + 1; zeros and other tensors are passed over"
    )
    expected = {2: ROW, 3: ROW.half().float(), 4: ROW, 5: ROW, 6: ROW.bfloat16().float()}
    for layer, direction in expected.items():
        assert torch.equal(vector.at(layer), direction), layer


def test_layers_that_may_be_counted_from_0_are_refused(tmp_path):
    save_file({"layer.0": ROW, "layer.1": ROW.clone()}, tmp_path / "v.safetensors")
    torch.save({0: ROW, 1: ROW}, tmp_path / "v.pt")
    save_file({"direction.2": ROW}, tmp_path / "gguf.safetensors")
    for name in ("v.safetensors", "v.pt", "gguf.safetensors"):
        with pytest.raises(UserError, match="from 0") as caught:
            read_vector(tmp_path / name, "steering-vectors" if name.endswith("pt") else None, 1)
        assert str(caught.value).startswith(str(tmp_path / name))


def test_what_is_ambiguous_is_one_line(tmp_path):
    np.save(tmp_path / "stack.npy", np.ones((4, 48), "f4"))
    torch.save(torch.ones(4, 48), tmp_path / "stack.pt")
    torch.save(ROW, tmp_path / "lone.pt")
    torch.save({"a": ROW, "b": ROW}, tmp_path / "two.pt")
    torch.save({2: ROW, "layer.2": ROW}, tmp_path / "twice.pt")
    torch.save({2: ROW.long()}, tmp_path / "whole.pt")
    torch.save([ROW], tmp_path / "list.pt")
    for name, layer, message in [
        ("stack.npy", 2, "of a stack save one layer's row"),
        ("stack.pt", 2, "of a stack save one layer's"),
        ("lone.pt", None, "does not say its layer"),
        ("two.pt", 2, "holds 'a', 'b'"),
        ("twice.pt", 2, "layer 2 stands twice"),
        ("whole.pt", 2, "want one row of floats"),
        ("list.pt", 2, "holds a list"),
    ]:
        with pytest.raises(UserError, match=message):
            read_vector(tmp_path / name, "steering-vectors" if name.endswith("pt") else None, layer)


def test_zero_directions_are_refused_or_passed_over(tmp_path):
    np.save(tmp_path / "zero.npy", np.zeros(8, "f4"))
    torch.save({1: ROW * 0, 2: ROW}, tmp_path / "some.pt")
    with pytest.raises(UserError, match=r"layer 3 .* is zero: it has no direction"):
        read_vector(tmp_path / "zero.npy", layer=3)
    assert list(read_vector(tmp_path / "some.pt", "steering-vectors").layers) == [2]
    with pytest.raises(UserError, match=r"layer 1 .* is zero"):
        read_vector(tmp_path / "some.pt", "steering-vectors", 1)
    with pytest.raises(UserError, match="zero"):
        SteeringVector({1: torch.zeros(4)})


@pytest.mark.parametrize("norm", [1e-40, 1e-30, 1e-12, 1.0, 1e19, 1e26, 1e30])
def test_lengths_from_1e_40_to_1e30_keep_their_direction(tmp_path, norm):
    exact = ROW.double() / ROW.double().norm() * norm
    np.save(tmp_path / "v.npy", exact.numpy())
    write_vector(tmp_path / "v.safetensors", read_vector(tmp_path / "v.npy", layer=2))
    vector = read_vector(tmp_path / "v.safetensors")
    assert vector.norm() == pytest.approx(norm, rel=1e-3)
    direction = unit(vector.at()).double()
    assert float(direction.norm()) == pytest.approx(1, abs=1e-6)
    assert float((direction - exact / norm).norm()) < 1e-3
    spread = SteeringVector(vector.layers, spread={2: 10.0})
    assert spread.of_length(0.5).norm() == pytest.approx(5, rel=1e-3)


def test_a_transfer_is_linear_over_all_lengths():
    from lrt_bench import Pair, fit, transfer

    fitted = fit(Pair("nano/S:3", "nano/S2:2"), tokens=300)
    one = torch.randn(96, generator=torch.Generator().manual_seed(1)).double()
    plain = transfer(SteeringVector({3: one}), fitted)
    for factor in (1e-39, 1e-25, 1e22, 1e28):
        carried = transfer(SteeringVector({3: one * factor}), fitted)
        assert carried.provenance["norm_ratio"] == pytest.approx(plain.provenance["norm_ratio"], rel=1e-4)
        assert carried.norm() == pytest.approx(plain.norm() * factor, rel=1e-3)
        assert torch.allclose(unit(carried.at()), unit(plain.at()), atol=1e-3)


@pytest.mark.parametrize("value", [1e39, 1e-46])
def test_what_float32_cannot_hold_is_said(tmp_path, value):
    np.save(tmp_path / "v.npy", np.full(8, value))
    with pytest.raises(UserError, match=r"layer 2 of a steering vector is too (long|short)"):
        read_vector(tmp_path / "v.npy", layer=2)


class Named:
    """An object whose pickle calls a function that torch's restricted reader allows."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def archive_of(content: bytes, path: Path) -> Path:
    """An archive as torch.save writes it, around a pickle of any content."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", b"3\n")
    return path


def test_small_files_cannot_ask_for_gigabytes(tmp_path):
    """Each of them is read by a process that may take 400 MB beyond what importing took."""
    rows, width = 4000, 1 << 20
    entries = b"".join(
        struct.pack("<Q", len(name)) + name + struct.pack("<IQIQ", 1, width, 0, 0)
        for name in (b"direction.%d" % block for block in range(rows))
    )
    key = b"general.architecture"
    head = b"GGUF" + struct.pack("<IQQ", 3, rows, 1) + struct.pack("<Q", len(key)) + key
    head += struct.pack("<IQ", 8, 13) + b"controlvector" + entries
    (tmp_path / "overlap.gguf").write_bytes(head + bytes(-len(head) % 32) + bytes(4 * width))
    archive_of(pickle.dumps(Named(bytearray, 1 << 33), protocol=2), tmp_path / "bytearray.pt")
    torch.save({layer: torch.ones(1).expand(1 << 20) for layer in range(1, 4000)}, tmp_path / "expanded.pt")
    torch.save(torch.empty(1 << 20, device="meta"), tmp_path / "meta.pt")
    sparse = torch.sparse_coo_tensor([[0]], [1.0], (1 << 20,), check_invariants=True)
    torch.save(sparse, tmp_path / "sparse.pt")
    code = (
        "import resource, sys, torch, gguf\n"
        "from lrt_bench.errors import UserError\n"
        "from lrt_bench.vectors.vector_files import read_vector\n"
        "pages = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (pages + 400_000_000,) * 2)\n"
        "name = 'gguf' if sys.argv[1].endswith('gguf') else 'steering-vectors'\n"
        "try: read_vector(sys.argv[1], name, None if name == 'gguf' or 'expanded' in sys.argv[1] else 2)\n"
        "except UserError as error: print(error)\n"
    )
    for name, message in [
        ("overlap.gguf", "claim more numbers"),
        ("bytearray.pt", "names '__builtin__.bytearray'"),
        ("expanded.pt", "claims 4193255424 numbers"),
        ("meta.pt", "names 'torch._utils._rebuild_meta_tensor_no_storage'"),
        ("sparse.pt", "names 'torch._utils._rebuild_sparse_tensor'"),
    ]:
        run = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / name)], capture_output=True, text=True, check=True
        )
        assert message in run.stdout, run.stderr
