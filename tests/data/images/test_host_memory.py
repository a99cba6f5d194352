"""A block is used again when nothing needs it, and never before."""

from __future__ import annotations

import threading

import torch

from reid_lightning.data.images.host_memory import batch_memory


def test_a_free_block_is_used_again():
    first = batch_memory(6, 8)
    place = first.data_ptr()
    del first
    assert batch_memory(6, 8).data_ptr() == place


def test_a_block_that_is_needed_is_left_alone():
    first = batch_memory(6, 8).fill_(1)
    second = batch_memory(6, 8).fill_(2)
    assert first.eq(1).all() and second.eq(2).all()


def test_a_view_is_a_need():
    view = batch_memory(6, 8).fill_(1).view(2, 3, 8).permute(0, 2, 1)[1:]
    batch_memory(6, 8).fill_(2)
    assert view.eq(1).all()


def test_an_array_on_the_tensor_is_a_need():
    array = batch_memory(6, 8).fill_(1)[2:].numpy()
    batch_memory(6, 8).fill_(2)
    assert (array == 1).all()


def test_what_autograd_saved_is_a_need():
    weight = torch.ones(8, requires_grad=True)
    loss = (batch_memory(6, 8).fill_(3) * weight).sum()  # only the graph holds the batch now
    batch_memory(6, 8).fill_(5)
    loss.backward()
    assert weight.grad.tolist() == [18.0] * 8


def test_another_shape_is_another_block():
    assert batch_memory(6, 8).shape == (6, 8)
    assert batch_memory(4, 12).shape == (4, 12)


def test_threads_do_not_share_a_block():
    places = {}

    def ask(name):
        places[name] = batch_memory(6, 8).data_ptr()
        barrier.wait()  # both are alive, and neither holds its tensor

    barrier = threading.Barrier(2)
    threads = [threading.Thread(target=ask, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert places["a"] != places["b"]
