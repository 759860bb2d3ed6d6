"""Reading .pt files: those in tests/data/torch were written by torch (make.py there), the hostile ones here."""

import copyreg
import io
import math
import pickle
import pickletools
import re
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoasr.checkpoint.torch_file import read_torch_file
from nanoasr.errors import CheckpointError, UnsafeCheckpointError

import mlx.core as mx  # isort: skip (nanoasr first: it gives MLX its BLAS)

WRITTEN_BY_TORCH = Path(__file__).parents[1] / "data" / "torch"
PARITY = Path(__file__).parents[1] / "parity"
OFFICIAL = PARITY / "official" / "model.pt"

# what tensors and plain data are made of; every other opcode has to be refused
ADMITTED_OPCODES = re.findall(
    r"\w+",
    """
PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE
BINUNICODE8 BINBYTES SHORT_BINBYTES EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS EMPTY_TUPLE TUPLE
TUPLE1 TUPLE2 TUPLE3 BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD BINPERSID
""",
)


def expected_tensors(name: str) -> dict[str, np.ndarray]:
    with np.load(WRITTEN_BY_TORCH / "expected.npz") as expected:
        return {key.removeprefix(f"{name}/"): expected[key] for key in expected if key.startswith(f"{name}/")}


def fragment(value: object) -> bytes:
    """Plain data as pickle opcodes, to be put together with others."""
    return pickle.dumps(value, 2)[2:-1]


def storage(key="0", length=6, kind="torch\nFloatStorage") -> bytes:
    return (
        b"(" + fragment("storage") + f"c{kind}\n".encode() + fragment(key) + fragment("cpu") + fragment(length) + b"tQ"
    )


def tensor(shape=(2, 3), strides=(3, 1), offset=0, **of_storage) -> bytes:
    described = fragment(offset) + fragment(shape) + fragment(strides) + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(**of_storage) + described + b"tR"


def dictionary(**values: bytes) -> bytes:
    return b"}(" + b"".join(fragment(key) + value for key, value in values.items()) + b"u"


def write(path: Path, pickled: bytes, compression=zipfile.ZIP_STORED, alignment=64, **entries: bytes) -> Path:
    """A .pt file of `pickled`, which lacks only its frame; entries called _0, _1 are the storages."""
    names = {f"archive/data/{name[1:]}" if name[0] == "_" else f"archive/{name}": name for name in entries}
    contents = {name: entries[given] for name, given in names.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {"archive/data.pkl": b"\x80\x02" + pickled + b".", **contents}.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            padding = -(archive.fp.tell() + 30 + len(name) + 4) % alignment  # as torch pads its entries
            info.extra = b"FB" + padding.to_bytes(2, "little") + bytes(padding)
            archive.writestr(info, content)
    return path


SIX = np.arange(6, dtype="<f4")


def test_the_official_checkpoint_has_the_values_of_the_same_weights_in_safetensors():
    tensors = read_torch_file(OFFICIAL)
    assert len(tensors) == 179
    for name, expected in mx.load(str(PARITY / "mlx_audio" / "model.safetensors")).items():
        kernel = name.endswith("fsmn_block.weight")  # [C, 1, K] in torch, [C, K, 1] in MLX
        data = tensors[name].data.swapaxes(1, 2) if kernel else tensors[name].data
        np.testing.assert_array_equal(data, np.array(expected), strict=True)


@pytest.mark.parametrize(
    "name",
    [
        "every_dtype",
        "views",
        "module_state",
        "module_state_protocol_4",
        "tied",
        "parameters",
        "training_run",
        "nested_model",
    ],
)
def test_what_torch_saved_comes_back_with_every_value(name):
    expected = expected_tensors(name)
    tensors = read_torch_file(WRITTEN_BY_TORCH / f"{name}.pt")
    assert tensors.keys() == expected.keys()
    for key, tensor in tensors.items():
        assert tensor.shape == tensor.data.shape == expected[key].shape
        assert tensor.data.dtype == expected[key].dtype
        assert tensor.data.flags.c_contiguous
        assert tensor.data.flags.aligned
        np.testing.assert_array_equal(tensor.data, expected[key])


def test_each_dtype_is_named_as_in_torch():
    tensors = read_torch_file(WRITTEN_BY_TORCH / "every_dtype.pt")
    assert all(tensor.dtype == name for name, tensor in tensors.items())


def test_bfloat16_bits_become_an_mlx_array():
    tensors = read_torch_file(WRITTEN_BY_TORCH / "every_dtype.pt")
    loaded = mx.array(tensors["bfloat16"].data).view(mx.bfloat16).astype(mx.float32)
    np.testing.assert_allclose(np.array(loaded), tensors["float32"].data, rtol=2**-8)


def test_the_stride_of_a_dimension_of_one_does_not_matter(tmp_path):
    file = write(tmp_path / "m.pt", dictionary(w=tensor((1, 6), (1 << 40, 1))), _0=SIX.tobytes())
    np.testing.assert_array_equal(read_torch_file(file)["w"].data, SIX.reshape(1, 6))


def test_tied_weights_are_one_piece_of_the_file():
    tensors = read_torch_file(WRITTEN_BY_TORCH / "tied.pt")
    assert np.shares_memory(tensors["embed_tokens.weight"].data, tensors["lm_head.weight"].data)


def test_a_file_is_mapped_and_not_read(tmp_path):
    file = write(tmp_path / "m.pt", dictionary(w=tensor((1 << 23,), (1,), length=1 << 23)), _0=bytes(32 << 20))
    tracemalloc.start()
    tensors = read_torch_file(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert tensors["w"].data.nbytes == 32 << 20
    assert peak < 1 << 20


def test_the_weights_stay_readable_after_the_file_is_unlinked_and_cannot_be_changed(tmp_path):
    file = write(tmp_path / "m.pt", dictionary(w=tensor()), _0=SIX.tobytes())
    weight = read_torch_file(file)["w"].data
    file.unlink()
    np.testing.assert_array_equal(weight, SIX.reshape(2, 3))
    with pytest.raises(ValueError, match="read-only"):
        weight[0, 0] = 1


def test_compressed_entries_are_unpacked(tmp_path):
    file = write(tmp_path / "m.pt", dictionary(w=tensor()), zipfile.ZIP_DEFLATED, _0=SIX.tobytes())
    np.testing.assert_array_equal(read_torch_file(file)["w"].data, SIX.reshape(2, 3))


def test_entries_that_are_not_aligned_as_torch_aligns_them_come_out_aligned(tmp_path):
    for shift in range(4):
        entries = {"x" * (shift + 1): b"", "_0": SIX.tobytes()}
        file = write(tmp_path / "m.pt", dictionary(w=tensor()), alignment=1, **entries)
        data = read_torch_file(file)["w"].data
        assert data.flags.aligned
        np.testing.assert_array_equal(data, SIX.reshape(2, 3))


def test_a_stored_byte_of_2_is_a_true_bool(tmp_path):
    bools = tensor((3,), (1,), length=3, kind="torch\nBoolStorage")
    data = read_torch_file(write(tmp_path / "m.pt", dictionary(w=bools), _0=b"\0\1\2"))["w"].data
    assert data.dtype == bool
    assert data.tobytes() == b"\0\1\1"


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_view_within_its_storage_has_torch_s_values(tmp_path_factory, data):
    shape = tuple(data.draw(st.lists(st.integers(1, 4), max_size=4)))
    strides = tuple(data.draw(st.integers(0, 5)) for _ in shape)
    offset = data.draw(st.integers(0, 3))
    length = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + 1
    values = np.arange(length, dtype="<f4")
    view = tensor(shape, strides, offset, length=length)
    file = write(tmp_path_factory.mktemp("view") / "m.pt", dictionary(w=view), _0=values.tobytes())
    read = read_torch_file(file)["w"].data
    assert read.shape == shape
    for index in np.ndindex(shape):
        assert read[index] == values[offset + sum(i * s for i, s in zip(index, strides, strict=True))]


# where the state_dict is


@pytest.mark.parametrize("path", ["state_dict", "model", "model_state_dict", "module", "model state_dict"])
def test_a_state_dict_is_found_where_trainers_put_it(tmp_path, path):
    saved = dictionary(w=tensor())
    for key in reversed(path.split()):
        saved = dictionary(epoch=fragment(3), config=fragment({"model": [1, {"a": None}]}), **{key: saved})
    assert list(read_torch_file(write(tmp_path / "m.pt", saved, _0=SIX.tobytes()))) == ["w"]


def test_a_lone_tensor_beside_the_state_dict_is_not_a_weight(tmp_path):
    saved = dictionary(loss=tensor(), state_dict=dictionary(w=tensor()))
    assert list(read_torch_file(write(tmp_path / "m.pt", saved, _0=SIX.tobytes()))) == ["w"]


def test_a_config_named_model_does_not_hide_the_weights(tmp_path):
    saved = dictionary(w=tensor(), model=fragment({"dim": 3}))
    assert list(read_torch_file(write(tmp_path / "m.pt", saved, _0=SIX.tobytes()))) == ["w"]


def test_the_prefix_of_data_parallel_is_taken_off(tmp_path):
    saved = dictionary(**{"module.a.module.b": tensor()})
    assert list(read_torch_file(write(tmp_path / "m.pt", saved, _0=SIX.tobytes()))) == ["a.module.b"]


def test_a_name_both_with_and_without_that_prefix_is_an_error(tmp_path):
    saved = dictionary(**{"module.a": tensor(), "a": tensor()})
    with pytest.raises(CheckpointError, match="'a' both with and without"):
        read_torch_file(write(tmp_path / "m.pt", saved, _0=SIX.tobytes()))


@pytest.mark.parametrize("saved", [{"epoch": 3}, {}, [], None, 7], ids=repr)
def test_a_file_without_weights_says_what_it_holds_instead(tmp_path, saved):
    with pytest.raises(CheckpointError, match=r"m\.pt: holds no weights"):
        read_torch_file(write(tmp_path / "m.pt", fragment(saved)))


def test_a_dict_that_contains_itself_ends(tmp_path):
    saved = b"}q\0" + b"".join(fragment(key) + b"h\0s" for key in ("state_dict", "model", "module"))
    with pytest.raises(CheckpointError, match="no weights"):
        read_torch_file(write(tmp_path / "m.pt", saved.replace(b"q\1", b"")))


# hostile pickles: each is first shown to work in Python's own unpickler

SYSTEM = b"cos\nsystem\n"


def reduce(command: bytes) -> bytes:
    return SYSTEM + b"(" + command + b"tR"


ATTACKS = {
    "GLOBAL and REDUCE": reduce,
    "STACK_GLOBAL": lambda command: fragment("os") + fragment("system") + b"\x93(" + command + b"tR",
    "INST": lambda command: b"(" + command + b"ios\nsystem\n",
    "OBJ": lambda command: b"(" + SYSTEM + command + b"o",
    "NEWOBJ": lambda command: b"c__builtin__\ntuple\n(c__builtin__\nmap\n(" + SYSTEM + b"](" + command + b"et\x81t\x81",
    "NEWOBJ_EX": lambda command: (
        b"c__builtin__\ntuple\n(c__builtin__\nmap\n(" + SYSTEM + b"](" + command + b"et}\x92t}\x92"
    ),
    "BUILD with __setstate__": lambda command: (
        b"ccollections\nOrderedDict\n)R" + dictionary(__setstate__=SYSTEM) + b"b" + command + b"b"
    ),
    "EXT1": lambda command: b"\x82\xf0(" + command + b"tR",
    "in the state_dict": lambda command: dictionary(state_dict=dictionary(w=tensor(), v=reduce(command))),
    "beside the state_dict": lambda command: dictionary(state_dict=dictionary(w=tensor()), epoch=reduce(command)),
    "as a dict's key": lambda command: b"}" + reduce(command) + b"Ns",
    "thrown away again": lambda command: dictionary(w=tensor()) + reduce(command) + b"0",
    "in a persistent id": lambda command: (
        b"(" + fragment("storage") + reduce(command) + fragment("0") + fragment("cpu") + fragment(6) + b"tQ"
    ),
    "as a persistent id": lambda command: reduce(command) + b"Q",
    "in a tensor's hooks": lambda command: (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage()
        + fragment(0)
        + fragment((6,))
        + fragment((1,))
        + b"\x89"
        + reduce(command)
        + b"tR"
    ),
}


class PythonsUnpickler(pickle.Unpickler):
    """Runs what it is told to, but has no torch: torch's names are tuples here."""

    def find_class(self, module, name):
        return (lambda *_: ()) if module.startswith("torch") else super().find_class(module, name)

    def persistent_load(self, persistent_id):
        return persistent_id


@pytest.fixture
def an_extension_code_for_os_system():
    copyreg.add_extension("os", "system", 0xF0)
    yield
    copyreg.remove_extension("os", "system", 0xF0)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_hostile_pickle_is_refused_by_name_and_does_nothing(tmp_path, an_extension_code_for_os_system, attack):
    trace = tmp_path / "was_here"
    pickled = attack(fragment(f"touch '{trace}'"))
    PythonsUnpickler(io.BytesIO(b"\x80\x02" + pickled + b".")).load()
    assert trace.exists(), "the attack itself has to work"
    trace.unlink()

    with pytest.raises(
        UnsafeCheckpointError, match=r"hostile\.pt: asks for '(os.system|INST os system|EXT1|__builtin__)"
    ):
        read_torch_file(write(tmp_path / "hostile.pt", pickled, _0=SIX.tobytes()))
    assert not trace.exists()


@pytest.mark.parametrize(
    "opcode", [o for o in pickletools.opcodes if o.name not in ADMITTED_OPCODES], ids=lambda o: o.name
)
def test_every_opcode_that_tensors_do_not_need_is_refused_by_name(tmp_path, opcode):
    argument = {"stringnl": b"''\n", "decimalnl_long": b"1L\n", "stringnl_noescape_pair": b"a\nb\n"}
    one_line = opcode.arg is not None and opcode.arg.n == pickletools.UP_TO_NEWLINE
    following = argument.get(opcode.arg.name, b"1\n") if one_line else bytes(16)
    pickled = b"((]})" + opcode.code.encode("latin-1") + following
    with pytest.raises(UnsafeCheckpointError, match=f"asks for '{opcode.name}"):
        read_torch_file(write(tmp_path / "m.pt", pickled))


@pytest.mark.parametrize(
    ("pickled", "named"),
    [
        (b"ctorch\nFloatStorage\n)R", "REDUCE of torch.FloatStorage"),
        (b"ctorch\nFloatStorage\n}b", "BUILD on torch.FloatStorage"),
        (tensor() + b"}b", "BUILD on View"),
        (b"](K\1e}b", "BUILD on list"),
        (fragment("os.system") + b")R", "REDUCE of str"),
        (b"ccollections\nOrderedDict\n" + fragment(([["a", 1]],)) + b"R", "REDUCE of collections.OrderedDict"),
        (b"ctorch._utils\n_rebuild_parameter\n" + fragment(({}, True, {})) + b"R", "_rebuild_parameter"),
        (storage(kind="collections\nOrderedDict"), "BINPERSID"),
        (storage(length=-1), "BINPERSID"),
        (fragment("module") + b"Q", "BINPERSID of str"),
        (b"ctorch._utils\n_rebuild_tensor_v3\n", "torch._utils._rebuild_tensor_v3"),
        (b"ctorch\nComplexFloatStorage\n", "torch.ComplexFloatStorage"),
        (b"c__torch__\nNet\n", "__torch__.Net"),
    ],
)
def test_admitted_names_serve_for_nothing_but_tensors(tmp_path, pickled, named):
    with pytest.raises(UnsafeCheckpointError, match=named):
        read_torch_file(write(tmp_path / "m.pt", pickled))


def test_state_set_on_an_ordered_dict_is_dropped(tmp_path):
    state = fragment({"__setstate__": "x", "__class__": "y"}) + b"b" + fragment("once more") + b"b"
    saved = b"ccollections\nOrderedDict\n)R" + fragment("w") + tensor() + b"s" + state
    assert list(read_torch_file(write(tmp_path / "m.pt", saved, _0=SIX.tobytes()))) == ["w"]


# forged and damaged tensors


@pytest.mark.parametrize(
    ("forged", "wrong"),
    [
        (tensor((2, 4), (3, 1)), "reaches value 6 of a storage of 6"),
        (tensor(offset=1), "reaches value 6"),
        (tensor((), (), offset=6), "reaches value 6"),
        (tensor((2, 3), (1 << 40, 1)), "reaches value"),
        (tensor((2, 3), (-3, 1), offset=3), "plain numbers"),
        (tensor((-2, -3)), "plain numbers"),
        (tensor(offset=-1), "plain numbers"),
        (tensor((2, 1 << 63), (0, 0)), "plain numbers"),
        (tensor((2.0, 3)), "plain numbers"),
        (tensor((True, 3)), "plain numbers"),
        (tensor([2, 3]), "plain numbers"),
        (tensor("23"), "plain numbers"),
        (tensor((1 << 30, 1 << 30), (0, 0)), "larger than any memory"),
        (tensor((0, 1 << 30, 1 << 30), (0, 0, 0)), "larger than any memory"),
        (tensor((6,), (1, 1)), "1 dimensions and 2 strides"),
        (tensor((1,) * 33, (1,) * 33), "33 dimensions"),
        (tensor(length=7), "has 24 bytes instead of 28"),
        (tensor(length=1 << 70), "has 24 bytes"),
        (tensor(key="1"), "no entry '1' under data/"),
        (tensor(key="../data/0"), "no entry"),
        (tensor(key="/etc/passwd"), "no entry"),
    ],
)
def test_a_forged_tensor_is_an_error_with_its_name(tmp_path, forged, wrong):
    with pytest.raises(CheckpointError, match=rf"m\.pt: tensor 'enc\.w' .*{wrong}"):
        read_torch_file(write(tmp_path / "m.pt", dictionary(**{"enc.w": forged}), _0=SIX.tobytes()))


def test_one_value_spread_over_a_huge_tensor_is_refused(tmp_path):
    spread = tensor((1 << 20, 1 << 20), (0, 0))
    with pytest.raises(CheckpointError, match="claim 4,398,046,511,104 bytes"):
        read_torch_file(write(tmp_path / "m.pt", dictionary(w=spread), _0=SIX.tobytes()))


def test_one_storage_used_by_very_many_tensors_is_refused(tmp_path):
    megabyte = tensor((256, 1024), (1, 256), length=1 << 18)
    views = dictionary(**{f"w{i}": megabyte for i in range(100)})
    with pytest.raises(CheckpointError, match="claim 104,857,600 bytes"):
        read_torch_file(write(tmp_path / "m.pt", views, _0=bytes(1 << 20)))


def test_a_zip_bomb_is_refused(tmp_path):
    zeros = dictionary(w=tensor((1 << 25,), (1,), length=1 << 25))
    with pytest.raises(CheckpointError, match="zip bomb"):
        read_torch_file(write(tmp_path / "m.pt", zeros, zipfile.ZIP_DEFLATED, _0=bytes(1 << 27)))


def test_a_list_of_tensors_without_end_is_refused(tmp_path):
    endless = write(tmp_path / "m.pt", b"N" * (33 << 20), zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match=r"data\.pkl has 34,603,011 bytes"):
        read_torch_file(endless)
    with pytest.raises(CheckpointError, match="over 2,000,000 opcodes"):
        read_torch_file(write(tmp_path / "m.pt", b"N" * 2_000_001))


def test_tuples_nested_without_end_are_no_trouble(tmp_path):
    nested = b")" + b"\x85" * 100_000
    with pytest.raises(CheckpointError, match="no weights"):
        read_torch_file(write(tmp_path / "m.pt", nested))
    assert "w" in read_torch_file(write(tmp_path / "m.pt", dictionary(w=tensor()) + nested + b"Ns", _0=SIX.tobytes()))


def test_a_file_from_a_big_endian_machine_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="big-endian"):
        read_torch_file(write(tmp_path / "m.pt", dictionary(w=tensor()), _0=SIX.tobytes(), byteorder=b"big"))


# files that are not what they seem


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>Not found</html>", "not a PyTorch file"),
        (bytes(range(256)) * 8, "not a PyTorch file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        ((15).to_bytes(8, "little") + b'{"__metadata__"', "safetensors file"),
        ((WRITTEN_BY_TORCH / "before_1_6.pt").read_bytes(), "format of PyTorch before"),
        (b"PK\5\6" + bytes(18), "no data.pkl"),
    ],
    ids=["empty", "html", "bytes", "git lfs", "safetensors", "before 1.6", "empty zip"],
)
def test_a_file_of_another_kind_is_told_apart(tmp_path, content, message):
    file = tmp_path / "m.pt"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as raised:
        read_torch_file(file)
    assert str(raised.value).startswith(str(file))
    assert not isinstance(raised.value, UnsafeCheckpointError)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_to_be_downloaded_again(tmp_path, kept):
    whole = OFFICIAL.read_bytes()
    (tmp_path / "m.pt").write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(CheckpointError, match=r"cut short.*download it again"):
        read_torch_file(tmp_path / "m.pt")


def test_a_missing_file_and_a_folder_are_checkpoint_errors(tmp_path):
    for path in (tmp_path, tmp_path / "absent.pt"):
        with pytest.raises(CheckpointError, match="cannot be read"):
            read_torch_file(path)


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_a_file_with_any_bytes_changed_is_read_or_refused_but_never_crashes(tmp_path_factory, data):
    forged = bytearray((WRITTEN_BY_TORCH / "training_run.pt").read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(forged) - 1), min_size=1, max_size=6)):
        forged[position] = data.draw(st.integers(0, 255))
    read_or_refused(tmp_path_factory.mktemp("forged") / "m.pt", bytes(forged))


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_a_pickle_with_any_bytes_changed_is_read_or_refused_but_never_crashes(tmp_path_factory, data):
    with zipfile.ZipFile(WRITTEN_BY_TORCH / "views.pt") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    forged = bytearray(entries["views/data.pkl"])
    for position in data.draw(st.lists(st.integers(0, len(forged) - 1), min_size=1, max_size=6)):
        forged[position] = data.draw(st.integers(0, 255))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, value in (entries | {"views/data.pkl": bytes(forged)}).items():
            archive.writestr(name, value)
    read_or_refused(tmp_path_factory.mktemp("forged") / "m.pt", content.getvalue())


def read_or_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    try:
        tensors = read_torch_file(file)
    except CheckpointError as error:
        assert str(error).startswith(str(file))
    else:
        for tensor in tensors.values():
            assert tensor.data.size == math.prod(tensor.shape)
            tensor.data.tobytes()
