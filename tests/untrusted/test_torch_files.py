"""What is refused before `torch.load` sees it, and what must go on loading."""

import collections
import os
import re
import zipfile

import numpy as np
import pytest
import torch

from reid_lightning.untrusted import torch_files
from reid_lightning.untrusted.torch_files import UnreadableFileError, check_torch_file, load_torch_file

FORMATS = pytest.mark.parametrize("new_format", [True, False])


class Call:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def rebuild(values, shape, stride, offset=0):
    storage = torch.storage.TypedStorage(wrap_storage=values.untyped_storage(), dtype=values.dtype, _internal=True)
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, shape, stride, False, {})


def write(path, content, *, new_format=True):
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    return path


@pytest.fixture
def never_loaded(monkeypatch):
    def load(*arguments, **options):
        raise AssertionError("torch.load was called")

    monkeypatch.setattr(torch, "load", load)


@FORMATS
def test_what_weights_and_checkpoints_hold_loads_as_torch_loads_it(tmp_path, new_format):
    base = torch.arange(24.0)
    linear = torch.nn.Linear(3, 2)
    tied = torch.ones(5)
    content = {
        "state_dict": linear.state_dict(),  # an OrderedDict with an attribute
        "parameter": linear.weight,
        "half": torch.ones(4, dtype=torch.float16),
        "brain": torch.ones(4, dtype=torch.bfloat16),
        "view": base.view(4, 6)[1:3, ::2],
        "transposed": base.view(4, 6).T,
        "scalar": torch.tensor(3),
        "none": torch.empty(0, 7),
        "tied": [tied, tied, tied],
        "spread": torch.ones(1).expand(3, 4),
        "sparse": torch.eye(3).to_sparse(),
        "state": torch.get_rng_state(),
        "plain": [1, 2**70, -1, 2.5, True, None, "é", (1, (2, 3)), {4, 5}, b"raw", complex(1, 2)],
        "shape": torch.Size((2, 3)),
        "kind": torch.float32,
        "place": torch.device("cpu"),
        "counted": collections.Counter("aab"),
        "rank1": [np.float64(0.97), np.float32(0.5), np.float64(0.1)],
    }
    path = write(tmp_path / "weights.pth", content, new_format=new_format)
    came = load_torch_file(path)
    assert came.keys() == content.keys()
    for key in ("parameter", "half", "brain", "view", "transposed", "scalar", "none", "spread", "state"):
        assert torch.equal(came[key], content[key])
    assert torch.equal(came["sparse"].to_dense(), torch.eye(3))
    assert torch.equal(came["state_dict"]["bias"], linear.bias)
    assert came["tied"][0].untyped_storage().data_ptr() == came["tied"][2].untyped_storage().data_ptr()
    for key in ("plain", "shape", "kind", "place", "counted", "rank1"):
        assert came[key] == content[key]


@pytest.mark.parametrize("dtype", [torch.float64, torch.int8, torch.uint8, torch.bool, torch.int16, torch.complex64])
@FORMATS
def test_every_type_of_number_loads(tmp_path, dtype, new_format):
    values = torch.tensor([0, 1, 1, 0]).to(dtype)
    path = write(tmp_path / "weights.pth", {"weight": values}, new_format=new_format)
    came = load_torch_file(path)["weight"]
    assert came.dtype == dtype and torch.equal(came, values)


def test_numbers_of_eight_bits_load(tmp_path):
    values = torch.tensor([0.5, 2]).to(torch.float8_e4m3fn)
    came = load_torch_file(write(tmp_path / "weights.pth", values))
    assert came.dtype == values.dtype and torch.equal(came.float(), values.float())


@FORMATS
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (Call(bytearray, 3_000_000_000), "calls builtins.bytearray"),
        (Call(bytearray, torch.tensor(3_000_000_000)), "calls builtins.bytearray"),
        (Call(np.dtype, "V3000000000"), "calls numpy.dtype"),
        (Call(torch.FloatTensor, 3_000_000_000), "calls torch.FloatTensor"),
        (Call(set, torch.zeros(1).expand(100_000)), "calls builtins.set"),
        (Call(os.system, "true"), r"names (posix|nt).system, which is no plain data"),
        (
            rebuild(torch.zeros(1), (1 << 40,), (1,)),
            r"a tensor of shape \(1099511627776,\) is larger than what is stor",
        ),
        (rebuild(torch.zeros(4), (2,), (1,), offset=3), r"larger than what is stored"),
        (rebuild(torch.zeros(1), (1 << 20, 1 << 20), (0, 0)), "its tensors would take 4,398,046,511,104 bytes"),
    ],
)
def test_a_small_file_that_asks_for_much_is_refused_before_it_is_loaded(
    tmp_path, never_loaded, content, words, new_format
):
    path = write(tmp_path / "weights.pth", {"state_dict": {"weight": content}}, new_format=new_format)
    with pytest.raises(UnreadableFileError, match=words):
        load_torch_file(path)


def test_text_that_grows_with_every_encoding_is_refused(tmp_path, never_loaded):
    import _codecs

    grown = b"0" * 8
    for _ in range(3):
        grown = Call(_codecs.encode, grown, "hex")
    with pytest.raises(UnreadableFileError, match=r"calls _codecs\.encode"):
        load_torch_file(write(tmp_path / "weights.pth", grown))


def test_many_copies_of_one_list_are_refused(tmp_path, never_loaded):
    long = list(range(1000))
    copies = [Call(set, long) for _ in range(1000)]
    with pytest.raises(UnreadableFileError, match="copies the same values again and again"):
        load_torch_file(write(tmp_path / "weights.pth", copies))


def test_tied_tensors_may_claim_a_few_times_the_file(tmp_path, monkeypatch, never_loaded):
    monkeypatch.setattr(torch_files, "_SMALL_FILE", 0)
    values = torch.zeros(10_000)
    check_torch_file(write(tmp_path / "weights.pth", [values.view(100, 100), values, values.view(-1, 1)]))
    with pytest.raises(UnreadableFileError, match="numbers are not stored but repeated"):
        check_torch_file(write(tmp_path / "weights.pth", [values.view(-1, count) for count in (1, 2, 4, 5, 8)]))


def test_a_storage_shorter_than_the_pickle_says_is_refused(tmp_path, never_loaded):
    path, short = write(tmp_path / "weights.pth", {"weight": torch.ones(1000)}), tmp_path / "short.pth"
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(short, "w") as other:
        for entry in archive.infolist():
            content = archive.read(entry)
            other.writestr(entry.filename, content[:8] if entry.filename.endswith("data/0") else content)
    with pytest.raises(UnreadableFileError, match="the numbers at data/0 are fewer than it says"):
        load_torch_file(short)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"PK\x03\x04" + bytes(100), b"\x80\x02", b"text\n", b"\x80\x02."]
)
def test_what_is_no_such_file_is_refused(tmp_path, content):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(UnreadableFileError):
        load_torch_file(tmp_path / "weights.pth")
    with pytest.raises(UnreadableFileError, match="not readable: No such file"):
        load_torch_file(tmp_path / "none.pth")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (Call(os.system, "true"), r"unsupported GLOBAL (posix|nt)\.system whose module (posix|nt) is blocked$"),
        (Call(getattr, 1, "real"), r"^Unsupported global: GLOBAL getattr was not an allowed global by default$"),
    ],
)
def test_torchs_advice_to_read_without_care_is_left_out(tmp_path, monkeypatch, content, words):
    path = write(tmp_path / "weights.pth", {"weight": content})
    monkeypatch.setattr(torch_files, "check_torch_file", lambda path: None)
    with pytest.raises(UnreadableFileError, match=words) as caught:
        load_torch_file(path)
    assert not re.search("weights_only|add_safe_globals|trust", str(caught.value))
