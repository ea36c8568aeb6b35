#!/usr/bin/env python3
"""Layer normalisation and the causal mask as a program: `toise check -- python examples/program.py` judges it over a pipe.

Nothing of Toise is imported, and nothing but the standard library, so that it can be rewritten in any language:
it reads messages from its standard input and answers on its standard output, as spec/toise_spec/protocol.md says.
"""

import json
import math
import sys
from array import array

TYPES = {"F64": "d", "F32": "f"}  # the dtypes of messages, and what the array module calls them


def layer_norm(tensors, *, eps=1e-5):
    """gamma * (x - mean) / sqrt(variance + eps) + beta, computed in double whatever the dtype, and rounded once."""
    (dtype, shape, x), (*gamma_is, gamma), (*beta_is, beta) = (numbers(*tensors[name]) for name in ("x", "gamma", "beta"))
    d = shape[-1]
    if not gamma_is == beta_is == [dtype, [d]]:
        raise ValueError(f"x is {dtype} {shape}, gamma {gamma_is}, beta {beta_is}; required of both: {dtype} [{d}]")
    y = array(TYPES[dtype])  # "f" rounds to float32, and what is too large becomes infinity
    for row in (x[at : at + d] for at in range(0, len(x), d)):  # no rows, no loop: an empty result
        mean = math.fsum(row) / d
        centred = [value - mean for value in row]
        spread = math.sqrt(math.fsum(value * value for value in centred) / d + eps)
        y.extend(g * (value / spread) + b for value, g, b in zip(centred, gamma, beta, strict=True))
    return dtype, shape, in_little_endian(y).tobytes()


def causal_mask(_tensors, *, n, m=None):
    """One byte for each query and key: 1 where j <= i + m - n.  The lengths are no arrays, and come among the options."""
    m = n if m is None else m
    seen = (min(max(i + 1 + m - n, 0), m) for i in range(n))
    return "BOOL", [n, m], b"".join(bytes([1]) * keys + bytes(m - keys) for keys in seen)


OPERATIONS = {"layer_norm": layer_norm, "causal_mask": causal_mask}
STARTED = {
    "message": "started",
    "protocol": 1,
    "operations": {"layer_norm": ["eps"], "causal_mask": ["m"]},  # each with its options; the suite asks for nothing else
    "dtypes": ["float64", "float32"],
    "name": "program.py",
    "language": "Python, its standard library alone",
}


def answer(body, tensors):
    """Return the body and the tensors that answer a run: whatever goes wrong in it is an error, and the program goes on."""
    same = {"id": body["id"], "operation": body["operation"]}
    try:
        result = OPERATIONS[body["operation"]](tensors, **body["options"])  # an option that has its default is not sent
    except Exception as error:  # noqa: BLE001 - a call that is rejected is an answer like any other
        kind = {NotImplementedError: "not provided", MemoryError: "memory"}.get(type(error), "raised")
        text = " ".join(f"{type(error).__name__}: {error}".split())  # one line
        return {"message": "error", **same, "kind": kind, "text": text}, {}
    return {"message": "result", **same}, {"result": result}


def numbers(dtype, shape, data):
    """Return a tensor with its bytes read as numbers."""
    if dtype not in TYPES:
        raise NotImplementedError(f"no dtype {dtype}")
    return dtype, shape, in_little_endian(array(TYPES[dtype], data))


def in_little_endian(values):
    """Exchange the bytes of each number on a machine where the first one is the highest: messages have the lowest first."""
    if sys.byteorder == "big":
        values.byteswap()
    return values


def read(stream):
    """Return the body and the tensors of the next message, or None where the input ends between two messages.

    What cannot be read ends the program: Python then says why on stderr, and its exit status is 1.
    """
    prefix = stream.read(8)
    if not prefix:
        return None
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length > 2**20:
        raise ValueError(f"no header begins with {prefix}")
    header = json.loads(exactly(stream, length))
    body = json.loads(header.pop("__metadata__")["toise"])  # JSON in a string of JSON: safetensors has no objects there
    # The bytes of all tensors are read, also those that nobody needs: the next message begins right behind them.
    data = exactly(stream, max((tensor["data_offsets"][1] for tensor in header.values()), default=0))
    tensors = {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for name, t in header.items()}
    return body, tensors


def exactly(stream, size):
    """Return that many bytes: a pipe may end in the middle of a message."""
    data = stream.read(size)
    if len(data) < size:
        raise EOFError(f"the input ended after {len(data)} of {size} bytes")
    return data


def send(stream, body, tensors):
    """Write one message, and flush it: what stays in a buffer is an answer that never comes."""
    header, end = {"__metadata__": {"toise": json.dumps(body)}}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end := end + len(data)]}
    text = json.dumps(header).encode()
    stream.write(len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in tensors.values()))
    stream.flush()


def main():
    """Answer each start and each run, until a stop or the end of the input."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # nothing that is printed may come between two messages
    while message := read(source):
        body, tensors = message
        if body["message"] == "stop":
            return
        if body["message"] == "run":
            send(sink, *answer(body, tensors))
        elif body["message"] != "start" or body["protocol"] != 1:
            raise ValueError(f"no message of version 1: {body}")
        elif body["device"] is not None:
            send(sink, {"message": "error", "id": 0, "kind": "raised", "text": f"no device {body['device']}"}, {})
        else:
            send(sink, STARTED, {})


if __name__ == "__main__":
    main()
