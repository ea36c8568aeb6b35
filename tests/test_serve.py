"""What answers for a Python backend: which arrays it is given, and what is said of what it does."""

import math

import numpy as np
import pytest
from toise import Unsupported
from toise.arrays import DTYPES, array_type
from toise.isolation.remote import Remote, question
from toise.isolation.serve import Server
from toise.isolation.wire import Message, ProtocolError, numbers_of, tensor_of
from toise.targets import load

X, ONES, ZEROS = np.array([[1.0, -1.0]]), np.ones(2), np.zeros(2)


def serving(function, operation="layer_norm"):
    """Return what answers for one operation."""
    return Server(load({operation: function}))


def call(server, **given):
    """Ask for layer_norm; return the body and the tensors of the answer."""
    data = {"x": X, "gamma": ONES, "beta": ZEROS, **given}
    tensors = {name: tensor_of(part, "float32") if isinstance(part, np.ndarray) else part for name, part in data.items()}
    return server.answer(question(7, "layer_norm", tensors))


def raising(error):
    """Return an operation that raises."""

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        raise error

    return layer_norm


def test_the_result_comes_back_with_the_id_and_the_operation():
    """In the dtype in which the function returned it."""
    body, tensors = call(serving(lambda x, gamma, beta, *, eps=1e-5: x * np.float32(eps)), eps=0.5)

    assert body == {"message": "result", "id": 7, "operation": "layer_norm"}
    assert tensors["result"].dtype == "float32"
    np.testing.assert_array_equal(numbers_of(tensors["result"]), X / 2)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ValueError("no\nsuch shape"), "raised", "ValueError: no such shape"),
        (KeyboardInterrupt(), "raised", "KeyboardInterrupt"),
        (Unsupported("odd d"), "not provided", "odd d"),
        (NotImplementedError(), "not provided", "raised NotImplementedError"),
        (SystemExit(3), "exit", "SystemExit: 3"),
        (MemoryError("no room"), "memory", "MemoryError: no room"),
    ],
)
def test_what_a_backend_raises_is_told_by_its_kind(error, kind, text):
    """On one line, whatever it is."""
    body, tensors = call(serving(raising(error)))

    assert (body["message"], body["kind"], body["text"], body["fatal"]) == ("error", kind, text, False)
    assert not tensors


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        (np.ones((1,) * 40), "an array of 40 axes"),
        (None, "None"),
        ([1.0], "a list"),
        (np.ones(2, complex), "an array of dtype complex128"),
        (np.array(["a"]), "an array of dtype <U1"),
    ],
)
def test_what_is_no_array_of_numbers_is_described(returned, text):
    """Its type, or its dtype."""
    body, _ = call(serving(lambda x, gamma, beta, *, eps=1e-5: returned))

    assert (body["kind"], body["text"]) == ("returned", text)


def test_arrays_of_one_number_are_one_array():
    """As in self-attention, which is given its tokens three times."""
    seen = []
    tokens, other = tensor_of(X, "float32"), tensor_of(X, "float32")
    server = serving(lambda q, k, v: seen.append((q is k, q is v)) or q, "attention")
    server.answer(question(1, "attention", {"q": tokens, "k": tokens, "v": other}))

    assert seen == [(True, False)]


def test_an_array_of_the_call_before_is_given_again_with_new_contents():
    """In the same memory, so that what is remembered by address shows; another number is another array."""
    seen = []

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        seen.append((x, x.copy()))
        return x

    server, tensor = serving(layer_norm), tensor_of(X, "float32")
    call(server, x=tensor)
    tensor.data = tensor_of(2 * X, "float32").data
    call(server, x=tensor)
    call(server, x=tensor_of(3 * X, "float32"))

    assert seen[0][0] is seen[1][0]
    assert seen[2][0] is not seen[1][0]
    for (_, contents), times in zip(seen, (1, 2, 3), strict=True):
        np.testing.assert_array_equal(contents, times * X)


@pytest.mark.parametrize("arrays", [array_type("numpy", None), array_type("torch", None)], ids=lambda arrays: arrays.name)
@pytest.mark.parametrize("dtype", [*DTYPES, "bool", "int64"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)], ids=str)
def test_bits_that_are_lent_make_the_same_array(arrays, dtype, shape):
    """A fresh one, from bytes at an odd place too, or one that is there already, in whatever order its axes lie in memory."""
    array = arrays.make(np.arange(6)[: math.prod(shape)].reshape(shape) % 2, dtype)
    bits = bytes(arrays.lent_bits(array))
    fresh = arrays.from_bits(memoryview(b"x" + bits)[1:], shape, dtype)
    refilled = arrays.from_bits(bits, shape, dtype, arrays.make(np.zeros(shape), dtype))

    assert bits == arrays.bits(array)
    assert (arrays.dtype(fresh), tuple(fresh.shape)) == (dtype, shape)
    assert arrays.bits(fresh) == arrays.bits(refilled) == bits
    if shape:
        assert bytes(arrays.lent_bits(array.T)) == arrays.bits(array.T)


def test_after_an_error_that_the_device_keeps_the_process_is_given_up(monkeypatch):
    """A device that cannot even hold two ones any more is of no use to the next call: one outcome, not hundreds."""
    server = serving(raising(RuntimeError("CUDA error: device-side assert triggered")))
    monkeypatch.setattr(server.arrays, "device", "cuda", raising=False)
    assert call(server)[0]["fatal"] is False

    def refuse(values, dtype):
        raise RuntimeError("CUDA error: device-side assert triggered")

    given = {"x": X, "gamma": ONES, "beta": ZEROS}
    message = question(8, "layer_norm", {name: tensor_of(part, "float32") for name, part in given.items()})
    made = iter([X.copy(), ONES, ZEROS])
    monkeypatch.setattr(server, "_array", lambda kept, tensor: next(made))
    monkeypatch.setattr(server.arrays, "make", refuse)

    assert server.answer(message)[0]["fatal"] is True


def test_an_error_that_shows_when_the_result_is_read_counts_too(monkeypatch):
    """A device computes later than it is asked to."""
    server = serving(lambda x, gamma, beta, *, eps=1e-5: x)

    def refuse(*given):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(server.arrays, "device", "cuda", raising=False)
    monkeypatch.setattr(server.arrays, "lent_bits", refuse)
    monkeypatch.setattr(server.arrays, "make", refuse)
    body, _ = call(server)

    assert body["fatal"] is True
    assert "an illegal memory access was encountered" in body["text"]


def test_a_process_that_is_given_up_is_started_again(backend_file):
    """The call after it is served by another one."""
    from toise.errors import Ended
    from toise.isolation.child import Limits
    from toise.isolation.remote import SERVE

    remote = Remote((*SERVE, str(backend_file("def layer_norm(x, gamma, beta, *, eps=1e-5):\n    return x\n"))), None, Limits())
    given = [tensor_of(part, "float32") for part in (X, ONES, ZEROS)]
    try:
        remote.start()
        first = remote.child
        monkey = first.ask
        first.ask = lambda message, seconds: Message(
            {**monkey(message, seconds).body, "message": "error", "kind": "raised", "text": "CUDA error", "fatal": True}
        )
        with pytest.raises(Ended, match="CUDA error"):
            remote.call("layer_norm", given, {})
        assert not first.alive
        np.testing.assert_array_equal(numbers_of(remote.call("layer_norm", given, {})), X)
        assert remote.child is not first
    finally:
        remote.close()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"options": []}, "options or memory is no object"),
        ({"options": {"epsilon": 1}}, "no option 'epsilon'"),
    ],
)
def test_a_malformed_run_ends_the_process(body, said):
    """It is never guessed at."""
    asked = question(1, "layer_norm", {name: tensor_of(ONES, "float32") for name in ("x", "gamma", "beta")})
    with pytest.raises(ProtocolError, match=said):
        serving(raising(ValueError())).answer(Message({**asked.body, **body}, asked.tensors))


def test_a_run_without_all_of_its_data_ends_the_process():
    """The name of what is missing is said."""
    with pytest.raises(ProtocolError, match="layer_norm without gamma, beta"):
        serving(raising(ValueError())).answer(question(1, "layer_norm", {"x": tensor_of(X, "float32")}))
