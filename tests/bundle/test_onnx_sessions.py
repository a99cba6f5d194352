"""Which provider ONNX Runtime computes with: names, order, what is not there, and what is silently not loaded."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx_providers import CPU, CUDA, OPENVINO, TENSORRT, stand_in

from reid_lightning.bundle import onnx_sessions
from reid_lightning.bundle.onnx_sessions import (
    ProviderError,
    named_providers,
    offered_providers,
    open_session,
    providers_of,
)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Gives what it is given."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "same", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "n.onnx")
    return tmp_path / "n.onnx"


@pytest.fixture(autouse=True)
def not_said_yet():
    onnx_sessions._note.cache_clear()


def opened(file: Path, *, threads: int = 1, **arguments):
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    return open_session(file, settings, what="this network", **arguments)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("auto", ()),
        (["Auto"], ()),
        ("CPU", ("cpu",)),
        (["TensorRT", "cuda", "CPU", "cuda"], ("tensorrt", "cuda", "cpu")),
        (("openvino",), ("openvino",)),
    ],
)
def test_names_are_in_order_once_and_in_any_case(monkeypatch, given, names):
    stand_in(monkeypatch, [TENSORRT, CUDA, OPENVINO])
    assert named_providers(given) == names


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("gpu", "providers is gpu; expected auto, or one or a list of cpu, cuda, tensorrt, coreml, openvino, directml"),
        (["cuda", "auto"], "providers is cuda, auto; expected"),
        ([], "providers is empty; expected"),
        ("cuda", r"names cuda, but the onnxruntime .* offers cpu, openvino only\. What brings cuda: onnxruntime-gpu"),
        (["cpu", "DirectML"], "names directml, .* offers cpu, openvino only.*onnxruntime-directml"),
    ],
)
def test_what_is_unknown_or_not_there_is_named_with_what_is(monkeypatch, given, words):
    stand_in(monkeypatch, [OPENVINO, "AzureExecutionProvider"])
    with pytest.raises(ProviderError, match=words):
        named_providers(given)


def test_the_installed_onnxruntime_offers_the_cpu_by_its_own_names():
    assert "cpu" in offered_providers()
    known = set(onnxruntime.get_all_providers())
    assert {provider.name for provider in onnx_sessions.PROVIDERS.values()} <= known


def test_the_order_and_the_number_of_the_gpu_reach_the_session(monkeypatch, network):
    asked = stand_in(monkeypatch, [TENSORRT, CUDA])
    session = opened(network, providers=["tensorrt", "cuda"], device="cuda:1")
    assert providers_of(session) == ("tensorrt", "cuda", "cpu")
    [(first, of_first), (second, of_second), last] = asked[0]
    assert (first, second, last) == (TENSORRT, CUDA, CPU)
    assert of_first["device_id"] == of_second["device_id"] == "1" and of_second["use_tf32"] == "0"


def test_threads_are_those_of_openvino_too(monkeypatch, network):
    asked = stand_in(monkeypatch, [OPENVINO])
    opened(network, providers="openvino", threads=3)
    opened(network, providers="openvino", threads=0)
    assert asked == [[(OPENVINO, {"num_of_threads": "3"}), CPU], [OPENVINO, CPU]]


@pytest.mark.parametrize(
    ("offered", "device", "taken"),
    [
        ([], "auto", ("cpu",)),
        ([CUDA], "auto", ("cuda", "cpu")),
        ([TENSORRT, CUDA], "cuda:1", ("cuda", "cpu")),
        ([CUDA], "cpu", ("cpu",)),
        ([CUDA], "mps", ("cpu",)),
        ([OPENVINO, "CoreMLExecutionProvider"], "auto", ("cpu",)),
    ],
)
def test_auto_is_cuda_where_it_and_the_device_allow_it_else_the_cpu(monkeypatch, network, offered, device, taken):
    stand_in(monkeypatch, offered)
    assert providers_of(opened(network, device=device)) == taken


def test_on_the_cpu_a_session_is_asked_for_that_alone(monkeypatch, network):
    asked = stand_in(monkeypatch, [])
    opened(network)
    opened(network, providers="cpu")
    assert asked == [[CPU], [CPU]]


def test_one_that_is_silently_not_loaded_is_an_error_where_it_was_named(monkeypatch, network):
    stand_in(monkeypatch, [TENSORRT, CUDA], missing=[TENSORRT])
    with pytest.raises(ProviderError, match=r"this network cannot be run by .*could not load tensorrt.*providers=cpu"):
        opened(network, providers=["tensorrt", "cuda"])
    assert providers_of(opened(network, providers="cuda")) == ("cuda", "cpu")


def test_and_a_note_said_once_where_it_was_not(monkeypatch, network, caplog):
    asked = stand_in(monkeypatch, [CUDA], missing=[CUDA])
    for _ in range(2):
        assert providers_of(opened(network)) == ("cpu",)
    assert asked[1] == [CPU] and caplog.text.count("ONNX Runtime has cuda but could not load it") == 1


def test_what_a_provider_says_itself_is_passed_on(monkeypatch, network, caplog):
    stand_in(monkeypatch, [CUDA])
    without = onnxruntime.InferenceSession

    def refuse(file, settings, providers, **others):
        if providers != [CPU]:
            raise RuntimeError("no device 7")
        return without(file, settings, providers=providers, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    with pytest.raises(ProviderError, match=r"could not load cuda \(no device 7\)"):
        opened(network, providers="cuda")
    assert providers_of(opened(network, device="cuda:7")) == ("cpu",) and "no device 7" in caplog.text


def test_what_an_accelerator_runs_is_said(monkeypatch, network, caplog):
    stand_in(monkeypatch, [OPENVINO])
    caplog.set_level(logging.INFO)
    opened(network, providers="cpu")
    assert not caplog.text
    opened(network, providers="openvino")
    assert "this network runs on openvino, cpu, by ONNX Runtime" in caplog.text
