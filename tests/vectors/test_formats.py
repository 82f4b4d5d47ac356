"""Vector files: whole round trips, the packages that they are for, and files that are broken or hostile."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import error_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vector_desk import effect, real_vector, steered_logits

from lrt_bench.errors import UserError
from lrt_bench.models.sites import Site
from lrt_bench.vectors.vector import ModelHint, SteeringVector
from lrt_bench.vectors.vector_files import FORMATS, notes, read_vector, write_vector

LAYER = 4
READABLE = {"safetensors": "v.safetensors", "steering-vectors": "v.pt", "gguf": "v.gguf", "npy": "v.npy"}
TEXT = "She saw the dog. The sailor is wonderful. It was a"


@pytest.fixture(scope="module")
def vector(nano):
    return real_vector(nano("L"), LAYER)


@pytest.fixture(scope="module")
def prompt(nano):
    return nano("L").tokenizer(TEXT)["input_ids"]


def written(folder: Path, vector: SteeringVector, name: str) -> Path:
    path = folder / {**READABLE, "lm-eval": "hooks.pt"}[name]
    write_vector(path, vector, name)
    return path


@pytest.mark.parametrize("name", READABLE)
def test_a_round_trip_steers_the_same(nano, vector, tmp_path, name):
    path = written(tmp_path, vector, name)
    loaded = read_vector(path, name, LAYER if name == "npy" else None)
    assert list(loaded.layers) == [LAYER]
    site = Site(nano("L"), LAYER)
    before, after = effect(site, vector.at()), effect(site, loaded.at())
    assert np.abs(before - before[:, 1:2]).max() > 1, "the vector moves nothing: the test says nothing"
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_ours_keeps_all_that_the_record_says(vector, tmp_path):
    two = SteeringVector(
        {2: vector.at(), LAYER: -vector.at()}, vector.model, "person", {LAYER: 12.5}, {"of": ["a", {"b": 1}]}
    )
    write_vector(tmp_path / "v.safetensors", two)
    loaded = read_vector(tmp_path / "v.safetensors")
    assert (loaded.model, loaded.concept, loaded.spread, loaded.provenance) == (
        two.model, "person", {LAYER: 12.5}, {"of": ["a", {"b": 1}]}
    )  # fmt: skip
    assert loaded.model.model_type == "llama"
    assert loaded.model.blocks == "layers"
    assert all(torch.equal(loaded.layers[k], two.layers[k]) for k in (2, LAYER))
    assert list(read_vector(tmp_path / "v.safetensors", layer=2).layers) == [2]
    assert list(tmp_path.iterdir()) == [tmp_path / "v.safetensors"]


# The packages themselves.


def test_steering_vectors_loads_and_applies_it(nano, vector, prompt, tmp_path):
    package = pytest.importorskip("steering_vectors")
    model = nano("L")
    loaded = torch.load(written(tmp_path, vector, "steering-vectors"), weights_only=False)
    assert type(loaded) is package.SteeringVector
    with torch.no_grad(), loaded.apply(model.module, multiplier=0.7):
        theirs = model.module(input_ids=torch.tensor([prompt])).logits[0]
    ours = steered_logits(model, prompt, LAYER, 0.7 * vector.at())
    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=1e-5)
    assert (theirs - model.logits(torch.tensor([prompt]))[0]).abs().max() > 0.5


def test_what_steering_vectors_saves_is_read(vector, tmp_path):
    package = pytest.importorskip("steering_vectors")
    torch.save(package.SteeringVector({LAYER - 1: vector.at()[None]}), tmp_path / "theirs.pth")
    assert torch.equal(read_vector(tmp_path / "theirs.pth").at(LAYER), vector.at())
    torch.save(package.SteeringVector({3: vector.at()}, layer_type="mlp"), tmp_path / "mlp.pt")
    with pytest.raises(UserError, match="only decoder_block is the residual stream"):
        read_vector(tmp_path / "mlp.pt")


@pytest.fixture
def repeng(monkeypatch):
    """The package, which names an alias that NumPy 2 no longer has."""
    monkeypatch.setattr(np, "float_", np.float64, raising=False)
    return pytest.importorskip("repeng")


def test_repeng_loads_and_applies_it(repeng, nano, vector, prompt, tmp_path):
    control = repeng.ControlVector.import_gguf(written(tmp_path, vector, "gguf"))
    assert control.model_type == "llama"
    assert list(control.directions) == [LAYER - 1]
    model = nano("L")
    wrapped = repeng.ControlModel(model.module, [LAYER - 1])
    try:
        wrapped.set_control(control, 0.7)
        with torch.no_grad():
            theirs = wrapped(input_ids=torch.tensor([prompt]), use_cache=False).logits[0]
    finally:
        wrapped.unwrap()
    ours = steered_logits(model, prompt, LAYER, 0.7 * vector.at())
    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=1e-5)


def test_what_repeng_exports_is_read(repeng, vector, tmp_path):
    directions = {0: vector.at().numpy(), LAYER - 1: 2 * vector.at().numpy()}
    repeng.ControlVector("llama", directions).export_gguf(tmp_path / "theirs.gguf")
    loaded = read_vector(tmp_path / "theirs.gguf")
    assert list(loaded.layers) == [1, LAYER]
    assert torch.equal(loaded.at(LAYER), 2 * vector.at())
    assert loaded.model.model_type == "llama"


def test_lm_eval_loads_and_applies_it(nano, vector, prompt, tmp_path):
    steered = pytest.importorskip("lm_eval.models.hf_steered")
    from lrt_bench.nano.family import FAMILY

    half = SteeringVector({LAYER: 0.5 * vector.at()}, vector.model)
    path = written(tmp_path, half, "lm-eval")
    theirs = steered.SteeredModel(str(FAMILY["L"].folder), str(path), device="cpu", dtype="float32")
    logits = theirs._model_call(torch.tensor([prompt]))[0].detach()
    ours = steered_logits(nano("L"), prompt, LAYER, half.at())
    torch.testing.assert_close(logits, ours, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "opt", "gemma2"])
def test_hook_names_are_those_of_the_architecture(random_model, architecture):
    model = random_model(architecture)
    hint = ModelHint.of(model)
    modules = dict(model.module.base_model.named_modules())
    assert modules[f"{hint.blocks}.1"] is model.blocks[1]


# What a format cannot hold, and what does not tell its format.


def test_what_cannot_be_written_is_said_and_nothing_is_left(vector, tmp_path):
    two = SteeringVector({1: vector.at(), 2: vector.at()})
    for name, made, message in [
        ("v.npy", two, "an .npy file holds one layer, the vector has 1, 2"),
        ("v.pt", two, "may be steering-vectors or lm-eval: give --format"),
        ("v.bin", two, "its suffix tells no format"),
    ]:
        with pytest.raises(UserError, match=message):
            write_vector(tmp_path / name, made)
    with pytest.raises(UserError, match="names of the model's blocks"):
        write_vector(tmp_path / "v.pt", two, "lm-eval")
    with pytest.raises(UserError, match="gguff: no such format"):
        write_vector(tmp_path / "v.gguf", two, "gguff")
    assert not list(tmp_path.iterdir())


def test_what_llama_cpp_refuses_is_noted(vector):
    """Its loader takes direction.1 and above alone."""
    low, high = SteeringVector({1: vector.at()}), SteeringVector({2: vector.at()})
    assert "llama.cpp refuses" in notes(Path("v.gguf"), low)[0]
    assert notes(Path("v.gguf"), high) == notes(Path("v.npy"), low) == []


def test_lm_eval_files_are_not_read(vector, tmp_path):
    path = written(tmp_path, vector, "lm-eval")
    with pytest.raises(UserError, match="written here, never read"):
        read_vector(path, "lm-eval")
    with pytest.raises(UserError, match="holds a dict, no SteeringVector"):
        read_vector(path)


# Broken and hostile files.


class Bomb:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def _gguf(
    architecture: bytes = b"controlvector", tensors: int = 0, fields: bytes = b"", count: int = 1
) -> bytes:
    key = b"general.architecture"
    first = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(architecture)) + architecture
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, count) + first + fields


def _array(kind: int, size: int) -> bytes:
    return struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, kind, size)


def _entry(name: bytes, shape: list[int], kind: int = 0, offset: int = 0) -> bytes:
    dims = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return struct.pack("<Q", len(name)) + name + dims + struct.pack("<IQ", kind, offset)


HOSTILE_GGUF = [
    (b"GGML" + bytes(40), "not a GGUF file"),
    (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1), "tensors: no control vector"),
    (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60), "fields: no control vector"),
    (_gguf(b"llama"), "general.architecture is 'llama'"),
    (_gguf(), "no tensor direction.N"),
    (_gguf(fields=_array(0, 1 << 60), count=2), "values in a field: no control vector"),
    (_gguf(fields=_array(9, 3), count=2), "unknown type 9"),
    (_gguf(fields=_array(8, 9) + struct.pack("<Q", 1 << 62), count=2), "not a whole GGUF file"),
    (_gguf(tensors=1) + _entry(b"direction.3", [1 << 40]), "want one row"),
    (_gguf(tensors=1) + _entry(b"direction.3", [4, 4]), "want one row"),
    (_gguf(tensors=1) + _entry(b"direction.3", [8], kind=12), "GGML type 12"),
    (_gguf(tensors=1) + _entry(b"direction.-1", [8]), "want direction.0"),
    (_gguf(tensors=1) + _entry(b"direction.3", [8], offset=1 << 62), "not a whole GGUF file"),
]


@pytest.mark.parametrize(("data", "message"), HOSTILE_GGUF, ids=[m for _, m in HOSTILE_GGUF])
def test_hostile_control_vectors_are_one_line(tmp_path, data, message):
    (tmp_path / "v.gguf").write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_vector(tmp_path / "v.gguf")


def test_no_file_runs_code(tmp_path):
    made = tmp_path / "made"
    bomb = pickle.dumps(Bomb(made))
    (tmp_path / "plain.pt").write_bytes(bomb)
    torch.save({"layers.2": Bomb(made)}, tmp_path / "zip.pt")
    torch.save(Bomb(made), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    np.save(tmp_path / "object.npy", np.array([Bomb(made)], dtype=object), allow_pickle=True)
    for name in ("plain.pt", "zip.pt", "old.pt"):
        assert f"{name}: not a" in error_of(
            "try", "--model", "nano/S", "--vector", tmp_path / name, "--prompt", "x"
        )
    with pytest.raises(UserError, match="want one row of floats"):
        read_vector(tmp_path / "object.npy", layer=1)
    assert not made.exists()
    pickle.loads(bomb)  # the bomb is a bomb
    assert made.is_dir()


def test_archives_that_unpack_to_more_are_refused(vector, tmp_path):
    torch.save({}, tmp_path / "v.pt")
    with zipfile.ZipFile(tmp_path / "v.pt", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/9", bytes(1 << 20))
    with pytest.raises(UserError, match="compressed or too large"):
        read_vector(tmp_path / "v.pt")


def _safetensors(tensors: dict[str, torch.Tensor], **metadata: str) -> bytes:
    from safetensors.torch import save

    return save(tensors, metadata=metadata or None)


ROW = torch.ones(8)
BAD_OURS = [
    (_safetensors({"layer.0": ROW}), "tensor 'layer.0'"),
    (_safetensors({"weight": ROW}), "tensors are named layer.1"),
    (_safetensors({"layer.1": ROW, "layer.2": torch.ones(9)}), "different widths"),
    (_safetensors({"layer.1": torch.ones(2, 4)}), r"\(2, 4\)"),
    (_safetensors({"layer.1": ROW * float("nan")}), "NaN"),
    (_safetensors({"layer.1": ROW}, format="v9"), "format 'v9'"),
    (_safetensors({"layer.1": ROW}, vector="{"), "not the JSON object"),
    (_safetensors({"layer.1": ROW}, vector="[]"), "not the JSON object"),
    (_safetensors({"layer.1": ROW}, vector='{"spread": {"1": -3}}'), "positive length"),
    (_safetensors({"layer.1": ROW}, vector='{"model": {"name": 3}}'), "not the JSON object"),
    (_safetensors({}), "holds nothing"),
    (b"\xff" * 40, "its header claims"),
]


@pytest.mark.parametrize(("data", "message"), BAD_OURS, ids=[m for _, m in BAD_OURS])
def test_bad_files_of_ours_are_one_line(tmp_path, data, message):
    (tmp_path / "v.safetensors").write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        read_vector(tmp_path / "v.safetensors")
    assert str(caught.value).startswith(str(tmp_path / "v.safetensors"))


def test_arrays_that_are_no_row(tmp_path):
    for shape, dtype, message in [
        ((2, 3), "f4", "one row"),
        ((3,), "i8", "one row"),
        ((0,), "f4", "one row"),
    ]:
        np.save(tmp_path / "v.npy", np.zeros(shape, dtype))
        with pytest.raises(UserError, match=message):
            read_vector(tmp_path / "v.npy", layer=1)
    with pytest.raises(UserError, match="does not say its layer"):
        read_vector(tmp_path / "v.npy")
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(huge, {"descr": "<f4", "fortran_order": False, "shape": (1 << 19,)})
    (tmp_path / "v.npy").write_bytes(huge.getvalue())
    with pytest.raises(UserError, match="not a whole file"):
        read_vector(tmp_path / "v.npy", layer=1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(READABLE)), st.data())
def test_damaged_files_are_one_line_or_a_vector(vector, tmp_path, name, data):
    """Cut short, or with some bytes changed: a vector of finite numbers or a UserError, nothing else."""
    path = written(tmp_path, vector, name)
    whole = bytearray(path.read_bytes())
    head = min(len(whole), 600)  # where headers are
    for place in data.draw(st.lists(st.integers(0, head - 1), max_size=4)):
        whole[place] = data.draw(st.integers(0, 255))
    damaged = whole[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else whole
    intact = path.read_bytes() == damaged
    path.write_bytes(damaged)
    try:
        loaded = read_vector(path, name, LAYER if name == "npy" else None)
    except UserError as error:
        message = str(error)
    else:
        message = ""
        assert loaded.layers
        assert all(bool(torch.isfinite(v).all()) for v in loaded.layers.values())
    assert message.startswith(str(path)) or not message
    assert not (intact and message)


def test_every_format_is_documented():
    import lrt_bench.vectors.vector_files as formats

    for name in FORMATS:
        assert f"``{name}``" in formats.__doc__
