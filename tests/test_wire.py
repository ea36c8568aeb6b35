"""Messages as bytes: what goes out comes back, and whatever comes in is a message or one line that says why not."""

import contextlib
import json
import struct
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toise.errors import Ended, TargetError, Unsupported
from toise.isolation import remote
from toise.isolation.child import Limits
from toise.isolation.wire import (
    DTYPES,
    MAX_HEADER,
    Decoder,
    Message,
    ProtocolError,
    Tensor,
    encode,
    numbers_of,
    tensor_of,
)

RUN = {"message": "run", "id": 7, "operation": "layer_norm", "options": {"eps": 0.5}, "memory": {"x": 1}}
RESULT = {"message": "result", "id": 7, "operation": "layer_norm"}
STARTED = {"message": "started", "protocol": 1, "operations": {"layer_norm": ["eps"], "causal_mask": ["m"]}}
FLOATS = ("float64", "float32", "float16", "bfloat16")
AWKWARD = [0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, 6e-8, 1e-38, 65504.0, 3e38]
ENOUGH = 2000  # malformed messages of each of the five kinds: 10,000 in all
MEMORY = 64 * 2**20


def sent(message):
    """Return the bytes of a message."""
    return b"".join(encode(message))


def received(data, at_once=2**20):
    """Return the message that some bytes are, fed so many at once."""
    decoder = Decoder()
    for start in range(0, len(data), at_once):
        assert decoder.message() is None
        decoder.feed(data[start : start + at_once])
    return decoder.message()


def headed(text, data=b""):
    """Return the bytes of what claims to be a message with this header."""
    text = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
    return len(text).to_bytes(8, "little") + text + data


def with_body(body, **tensors):
    """Return a header as an object, with a body and tensors that may be anything."""
    return {"__metadata__": {"toise": body if isinstance(body, str) else json.dumps(body)}, **tensors}


# --- What goes out comes back -------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 7, 2**20])
@pytest.mark.parametrize("dtype", FLOATS)
def test_floating_point_numbers_come_back(dtype, at_once):
    """Each one rounded to its dtype: NaN, infinities, the sign of zero, and numbers too large or too small for it."""
    tensor = tensor_of(np.array(AWKWARD), dtype)
    message = received(sent(Message(RUN, {"x": tensor})), at_once)
    got = numbers_of(message.tensors["x"])

    expected = torch.tensor(AWKWARD, dtype=torch.float64).to(getattr(torch, dtype)).to(torch.float64).numpy()
    assert message.body == RUN
    assert (message.tensors["x"].dtype, message.tensors["x"].shape) == (dtype, (len(AWKWARD),))
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(np.signbit(got[:2]), [False, True])


@pytest.mark.parametrize("dtype", sorted(set(DTYPES) - set(FLOATS) - {"bool"}))
def test_whole_numbers_come_back(dtype):
    """The largest and the smallest of each dtype that float64 holds, and what is in between."""
    information = np.iinfo(dtype)
    values = np.array([max(information.min, -(2**53)), 0, 1, min(information.max, 2**53)])

    assert numbers_of(received(sent(Message(RUN, {"x": tensor_of(values, dtype)}))).tensors["x"]).tolist() == values.tolist()


def test_truth_values_come_back():
    """As truth values, one byte each; any byte but 0 is True."""
    values = np.array([[True, False], [False, True]])
    tensor = received(sent(Message(RUN, {"mask": tensor_of(values, "bool")}))).tensors["mask"]

    assert bytes(tensor.data) == b"\1\0\0\1"
    assert numbers_of(tensor).tolist() == values.tolist()
    assert numbers_of(Tensor("bool", (2,), b"\xff\0")).tolist() == [True, False]


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 1, 3)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_shapes_come_back(dtype, shape):
    """Single numbers, empty arrays, and several tensors in one message."""
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape) % 2
    tensors = {"x": tensor_of(values, dtype), "gamma": tensor_of(np.ones(3), "float32"), "beta": tensor_of(values, dtype)}
    message = received(sent(Message(RUN, tensors)), at_once=5)

    assert list(message.tensors) == ["x", "gamma", "beta"]
    for name in ("x", "beta"):
        assert message.tensors[name].shape == shape
        np.testing.assert_array_equal(numbers_of(message.tensors[name]), values)


def test_bfloat16_rounds_as_torch_does():
    """To the nearest, ties to the even one, over a hundred thousand patterns of bits; a NaN stays one."""
    patterns = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint32)
    ties = (np.arange(2**16, dtype=np.uint32) << 16) | 0x8000
    values = np.concatenate([patterns, ties, ties + 1, ties - 1]).view(np.float32)
    got = numbers_of(tensor_of(values, "bfloat16"))

    np.testing.assert_array_equal(got, torch.from_numpy(values.copy()).bfloat16().double().numpy())


def test_a_message_is_a_safetensors_file():
    """The bytes of one that is written by hand are read, whatever the order of its members and with spaces after the header."""
    body = {"message": "result", "id": 1, "operation": "layer_norm"}
    header = (
        '{"b":{"shape":[],"data_offsets":[8,16],"dtype":"I64"},"__metadata__":{"other":"ignored","toise":'
        f"{json.dumps(json.dumps(body))}"
        '},"result":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}   '
    )
    message = received(headed(header, struct.pack("<ffq", 0.5, -2.0, -3)))

    assert message.body == body
    assert numbers_of(message.tensors["result"]).tolist() == [[0.5, -2.0]]
    assert numbers_of(message.tensors["b"]) == -3


def test_a_message_is_written_as_the_format_says():
    """A length, a JSON object of strings and ranges that begin at 0 and leave no hole, and the bytes."""
    data = sent(Message(RESULT, {"a": tensor_of(np.array([1.0, 2.0]), "float16"), "b": tensor_of(np.ones(()), "bool")}))
    start = 8 + struct.unpack("<Q", data[:8])[0]

    assert json.loads(data[8:start]) == {
        "__metadata__": {"toise": json.dumps(RESULT)},
        "a": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]},
        "b": {"dtype": "BOOL", "shape": [], "data_offsets": [4, 5]},
    }
    assert data[start:] == struct.pack("<eeB", 1.0, 2.0, 1)


# --- What is no message -------------------------------------------------------------------------------


def read(data):
    """Feed bytes; return what they are if they are a message, whose memory and whose text, if it is none, have bounds."""
    tracemalloc.start()
    try:
        decoder = Decoder()
        decoder.feed(data)
        message = decoder.message()
    except ProtocolError as error:
        message = None
        is_one_line(str(error))
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MEMORY
    if message is not None:
        for tensor in message.tensors.values():
            numbers_of(tensor)
    return message


def is_one_line(text):
    """See that a text can be shown: on one line, with an end, without what a terminal or a file would choke on."""
    assert text
    assert len(text) < 400
    assert text.isprintable()


def fuzzed(strategy):
    """Try a test on malformed messages, the same ones each time."""
    return lambda test: settings(
        max_examples=ENOUGH, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )(given(strategy)(test))


HUGE = st.sampled_from([2**30, 2**31, 2**53, 2**60, 2**63, 2**64, 10**25, 10**4000])
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 20),
    HUGE,
    st.floats(allow_nan=True),
    st.text(max_size=8),
    st.sampled_from(["\ud800", "\x1b[31m", "a\nb", "x" * 1000, "F32", "BOOL", "result", "started"]),
)
JUNK = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)
NAMES = st.sampled_from(["result", "x", "corrupted", "selected", "", "a\nb", "\ud800", "n" * 500])
WHOLE = st.one_of(st.integers(-1, 9), HUGE)
TENSORS = st.fixed_dictionaries(
    {
        "dtype": st.one_of(st.sampled_from(["F32", "BOOL", "F8"]), JUNK),
        "shape": st.one_of(st.lists(WHOLE, max_size=3), st.just([2] * 100), JUNK),
        "data_offsets": st.one_of(st.just([0, 8]), st.lists(WHOLE, min_size=2, max_size=2), JUNK),
    }
)
VALID = [
    sent(Message(RUN, {"x": tensor_of(np.ones((2, 3)), "float32"), "gamma": tensor_of(np.ones(3), "float32")})),
    sent(Message(RESULT, {"result": tensor_of(np.ones((2, 0)), "bfloat16")})),
    sent(Message(STARTED)),
]
PIECES = [*'{}[],:"0- ', '"__metadata__":', '{"toise":"', '"toise"', '\\"message\\":', "NaN", "-Infinity", "1e999", "9" * 5000]
PIECES += ['"data_offsets":[0,', "null", "\\ud800", "\xe9", "\0", "\ufeff", "[" * 2000, '{"a":' * 2000]


@fuzzed(st.tuples(st.one_of(st.integers(0, 40), HUGE.map(lambda n: n % 2**64), st.just(MAX_HEADER)), st.binary(max_size=80)))
def test_random_bytes_are_refused(drawn):
    """Whatever length they claim."""
    length, rest = drawn
    read(rest)
    assert read(length.to_bytes(8, "little") + rest) is None


@fuzzed(
    st.tuples(
        st.sampled_from(VALID),
        st.lists(st.tuples(st.integers(0, 400), st.one_of(st.integers(0, 255), st.sampled_from(b'{}[]",:019'))), max_size=4),
        st.sampled_from([b"", b"\0", b"more"]),
    )
)
def test_mutated_messages_are_messages_or_refused(drawn):
    """A valid message with a few other bytes, and something behind it."""
    data, changes, more = drawn
    data = bytearray(data)
    for place, byte in changes:
        data[place % len(data)] = byte
    read(bytes(data) + more)


@fuzzed(
    st.tuples(
        st.one_of(st.just(RESULT), st.fixed_dictionaries({"message": JUNK}), JUNK, st.just('{"message":"a","message":"b"}')),
        st.dictionaries(NAMES, st.one_of(TENSORS, TENSORS, JUNK), max_size=3),
        st.one_of(st.none(), st.none(), JUNK),
    )
)
def test_headers_of_wrong_types_are_refused(drawn):
    """Shapes, offsets and bodies that are anything at all: overlapping, overflowing, of a million digits."""
    body, tensors, whole = drawn
    text = json.dumps(with_body(body, **tensors) if whole is None else whole)
    read(headed(text, bytes(8)))


@fuzzed(st.lists(st.sampled_from(PIECES), max_size=12))
def test_headers_that_are_no_json_are_refused(pieces):
    """Pieces of JSON in any order: nested without end, with names twice, in other encodings."""
    for encoding in ("utf-8", "utf-16"):
        read(headed("".join(pieces).encode(encoding, "surrogatepass")))
    read(headed(json.dumps(with_body("".join(pieces)))))


@fuzzed(st.lists(st.tuples(st.one_of(WHOLE), WHOLE, WHOLE), min_size=1, max_size=4))
def test_ranges_that_do_not_fit_are_refused(ranges):
    """What is accepted has no hole and no overlap, and claims no more than the limit."""
    tensors = {f"t{i}": {"dtype": "U8", "shape": [size], "data_offsets": [a, b]} for i, (size, a, b) in enumerate(ranges)}
    message = read(headed(json.dumps(with_body(RESULT, **tensors)), bytes(sum(size for size, *_ in ranges if 0 < size < 10))))

    if message is not None:
        ends = sorted((a, b) for _, a, b in ranges)
        assert [a for a, _ in ends] == [0, *(b for _, b in ends[:-1])]


def filled(unit, head="{", tail="}"):
    """Return a header of the largest size, filled with one thing over and over; `#` in it is another name each time."""
    parts, size = [], len(head) + len(tail)
    while True:
        parts.append(unit.replace("#", format(len(parts), "x")))
        size += len(parts[-1].encode()) + 1
        if size > MAX_HEADER:
            return head + ",".join(parts[:-1]) + tail


LARGE = {
    "lists": ("[]", '{"a":[', "]}"),
    "objects in objects": ('{"":{}}', '{"a":[', "]}"),
    "objects with one member": ('{"":0}', '{"a":[', "]}"),
    "objects after a character of four bytes": ('{"":0}', '{"\U0001f600":[', "]}"),
    "names": ('"#":[[0]]', "{", "}"),
    "one name": ('"":{}', "{", "}"),
    "deep lists": ("[" * 900 + "]" * 900, '{"a":[', "]}"),
    "deep objects": ('{"":' * 900 + "0" + "}" * 900, '{"a":[', "]}"),
    "tensors": (
        '"#":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}',
        '{"__metadata__":{"toise":"{\\"message\\":\\"a\\"}"},',
        "}",
    ),
    "a body": ("{}", '{"__metadata__":{"toise":"[', ']"}}'),
    "a body with a message": ("{}", '{"__metadata__":{"toise":"{\\"message\\":[', ']}"}}'),
}


@pytest.mark.parametrize("kind", LARGE)
def test_the_largest_headers_need_little_memory(kind):
    """A header of the largest size, of what costs most to read, needs less than 64 MiB."""
    data = headed(filled(*LARGE[kind]))

    assert 0.99 * MAX_HEADER < len(data) <= MAX_HEADER + 8
    assert read(data) is None


@pytest.mark.parametrize("where", ["header", "tensor", "shape", "message", "text"])
def test_no_depth_is_too_deep_for_a_message_about_it(where):
    """What can just be read can be shown too, at whatever depth Python gives up."""
    for depth in range(850, 1000, 3):
        deep = "[" * depth + "]" * depth
        texts = {
            "header": deep,
            "tensor": f'{{"__metadata__":{{"toise":"{{\\"message\\":\\"a\\"}}"}},"x":{deep}}}',
            "shape": f'{{"__metadata__":{{"toise":"{{\\"message\\":\\"a\\"}}"}},"x":{{"dtype":"U8","shape":{deep}}}}}',
            "message": json.dumps(with_body(f'{{"message":{deep}}}')),
            "text": json.dumps(with_body(f'{{"message":"error","id":7,"operation":"layer_norm","kind":"raised","text":{deep}}}')),
        }
        message = read(headed(texts[where]))
        if message is not None:
            with pytest.raises(ProtocolError):
                remote.result(message, RUN)


# --- Bodies that say anything -------------------------------------------------------------------------


def members(right):
    """Return bodies like this one: each member right, of a wrong type, or missing."""
    return st.fixed_dictionaries(
        {}, optional={name: st.one_of(st.just(part), st.just(part), JUNK) for name, part in right.items()}
    )


def told(expected):
    """Let pass what may be raised for a wrong answer, and see that it can be shown."""

    @contextlib.contextmanager
    def manager():
        try:
            yield
        except expected as error:
            is_one_line(str(error) or "an empty text is the program's own")

    return manager()


EVERYTHING = {
    **STARTED,
    "name": "my_attention",
    "version": "0.3",
    "language": "C++ 20",
    "arrays": "tensor",
    "device": "cuda",
    "dtypes": ["float32"],
    "declarations": {"layer_norm": {"precision": {"float32": "TF32"}}},
    "packages": {"cutlass": "4.2.0"},
    "notes": ["without --use_fast_math"],
    "text": "no device",
}


@settings(max_examples=1000, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=members(EVERYTHING), kind=st.sampled_from(["started", "started", "started", "error", "result"]))
def test_an_answer_to_start_of_wrong_types_is_refused(body, kind):
    """A ProtocolError or a TargetError of one line; what is accepted makes a target whose texts can be shown."""
    with told((ProtocolError, TargetError)):
        answer = remote.started(Message({**body, "message": kind}))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(remote.Remote, "start", lambda self: answer)
            target = remote.connect("a program", ("program",), limits=Limits(), again=("", ""))
        shown = (target.arrays.name, target.arrays.device, *target.notes, *target.packages, *target.packages.values())
        for text in (*shown, target.declarations.name, target.declarations.version):
            assert text.isprintable()
            assert len(text) <= remote.NOTE


@settings(max_examples=1000, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    body=members({**RESULT, "kind": "raised", "text": "ValueError: no", "fatal": True}),
    kind=st.sampled_from(["result", "error", "started"]),
    names=st.lists(NAMES, max_size=3, unique=True),
    asked=st.sampled_from(["layer_norm", "mlm_corrupt"]),
)
def test_an_answer_to_a_run_of_wrong_types_is_refused(body, kind, names, asked):
    """A ProtocolError of one line, or what the program says of itself on one line."""
    tensors = {name: tensor_of(np.ones(1), "float32") for name in names}
    with told((ProtocolError, Ended, Unsupported)):
        remote.result(Message({**body, "message": kind}, tensors), {**RUN, "operation": asked})


def test_an_option_that_is_named_twice_is_one_option():
    """As it would be in a set."""
    answer = remote.started(Message({**STARTED, "operations": {"causal_mask": ["m", "m"]}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote.Remote, "start", lambda self: answer)
        target = remote.connect("a program", ("program",), limits=Limits(), again=("", ""))

    assert target.accepts("causal_mask", "m")
