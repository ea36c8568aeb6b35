"""The page of the protocol, its schema and the example of a program agree, down to bytes that are written by hand here."""

import ast
import json
import math
import os
import re
import struct
import subprocess
import sys
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
import toise_spec

PROGRAM = Path(__file__).parent.parent / "examples" / "program.py"
PAGE = toise_spec.page("protocol")
SCHEMA = json.loads((resources.files("toise_spec") / "protocol.schema.json").read_text(encoding="utf-8"))
SHOWN = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]
MESSAGES = ("start", "run", "stop", "started", "result", "error")
SIZES = {code: int(size) for code, size in re.findall(r"^\| `(\w+)` \| .* \| (\d) \|$", PAGE, re.MULTILINE)}
START, STOP = {"message": "start", "protocol": 1, "device": None}, {"message": "stop"}
RUN = {"message": "run", "id": 7, "operation": "layer_norm", "options": {"eps": 0.5}, "memory": {"x": 1, "gamma": 2, "beta": 3}}
ERROR = {"message": "error", "id": 7, "operation": "layer_norm", "kind": "raised", "text": "ValueError: no"}


def part(name):
    """Return the schema of one kind of body, or of the header."""
    return {"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}


def is_valid(thing, schema=SCHEMA):
    """Tell whether something is as the schema says."""
    return jsonschema.Draft202012Validator(schema).is_valid(thing)


def message(body, **tensors):
    """Return the bytes of a message; a tensor is its dtype, its shape and its bytes."""
    header, end = {"__metadata__": {"toise": json.dumps(body)}}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in tensors.values())


def first_of(data):
    """Return the body and the tensors of the message that some bytes begin with, held to the schema, and the bytes after it."""
    start = 8 + int.from_bytes(data[:8], "little")
    header, end = json.loads(data[8:start]), 0
    jsonschema.validate(header, part("header"))
    body, tensors = json.loads(header.pop("__metadata__")["toise"]), {}
    jsonschema.validate(body, SCHEMA)
    for name, tensor in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = end, end + math.prod(tensor["shape"]) * SIZES[tensor["dtype"]]
        assert tensor["data_offsets"] == [begin, end]
        tensors[name] = (tensor["dtype"], tensor["shape"], data[start + begin : start + end])
    assert len(data) >= start + end
    return body, tensors, data[start + end :]


def answers(*asked, status=0):
    """Return the bodies and the tensors with which the program answers these bytes, and what it says on stderr."""
    done = subprocess.run([sys.executable, PROGRAM], input=b"".join(asked), capture_output=True, check=False, timeout=60)
    found, data = [], done.stdout
    while data:
        body, tensors, data = first_of(data)
        found.append((body, tensors))
    assert done.returncode == status, done.stderr
    return found, done.stderr.decode()


def layer_norm(code, x, shape, *, gamma=(1.0, 1.0), eps=0.5, id=7):
    """Return a run of layer_norm for rows of two features."""
    dtype = {"d": "F64", "f": "F32", "e": "F16"}[code]
    arrays = {"x": (shape, x), "gamma": ([len(gamma)], gamma), "beta": ([2], (0.0, 0.0))}
    tensors = {name: (dtype, axes, struct.pack(f"<{len(values)}{code}", *values)) for name, (axes, values) in arrays.items()}
    return message({**RUN, "id": id, "options": {"eps": eps}}, **tensors)


def causal_mask(**options):
    """Return a run of causal_mask."""
    return message({"message": "run", "id": 8, "operation": "causal_mask", "options": options, "memory": {}})


# --- The schema ---------------------------------------------------------------------------------------


def test_the_schema_is_one():
    """Of the draft that it names, with a definition of each message."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)

    assert SCHEMA["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]
    assert [choice["$ref"] for choice in SCHEMA["oneOf"]] == [f"#/$defs/{name}" for name in MESSAGES]
    assert {name: SCHEMA["$defs"][name]["properties"]["message"]["const"] for name in MESSAGES} == {n: n for n in MESSAGES}


@pytest.mark.parametrize("body", SHOWN, ids=lambda body: body["message"])
def test_a_body_that_the_page_shows_is_valid(body):
    """As the message that it is, and as no other; with a member that nobody knows too."""
    assert [name for name in MESSAGES if is_valid(body, part(name))] == [body["message"]]
    assert is_valid(body)
    assert is_valid({**body, "colour": ["blue"]})


def test_the_page_shows_every_message():
    """At least once."""
    assert {body["message"] for body in SHOWN} == set(MESSAGES)


@pytest.mark.parametrize("name", MESSAGES)
def test_the_page_has_the_members_of_the_schema(name):
    """In the section of the message, those that the schema requires and those that it does not."""
    section = PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]
    members = {word for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for word in re.findall(r"`(\w+)`", row)}
    shown = {
        member for block in re.findall(r"^```json\n(.*?)^```$", section, re.MULTILINE | re.DOTALL) for member in json.loads(block)
    }

    assert set(SCHEMA["$defs"][name]["properties"]) <= members | shown


def test_the_page_has_the_kinds_and_dtypes_of_the_schema():
    """All that there are."""
    definitions = SCHEMA["$defs"]

    assert (
        re.findall(r"^\| `([a-z ]+)` \| ", PAGE.split("| kind |")[1].split("\n\n")[0], re.MULTILINE)
        == (definitions["error"]["properties"]["kind"]["enum"])
    )
    assert list(SIZES) == definitions["tensor"]["properties"]["dtype"]["enum"][: len(SIZES)]
    assert all(f"`{code}`" in PAGE for code in definitions["tensor"]["properties"]["dtype"]["enum"])


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        "stop",
        {"message": "hello"},
        {**START, "protocol": 2},
        {"message": "start", "protocol": 1},
        {**RUN, "id": 0},
        {**RUN, "id": "7"},
        {**RUN, "options": {"eps": None}},
        {**RUN, "options": {"special_ids": [0, 0.5]}},
        {"message": "started", "protocol": 1, "operations": ["layer_norm"]},
        {"message": "started", "protocol": 1, "operations": {}, "dtypes": ["F32"]},
        {"message": "result", "id": 7},
        {**ERROR, "kind": "sulked"},
        {"message": "error", "id": 7, "kind": "raised", "text": "without its operation"},
        {"message": "error", "id": 0, "kind": "memory", "text": "a start that fails has one kind"},
    ],
)
def test_what_is_no_body_is_not_valid(body):
    """Something is missing, or says what it cannot."""
    assert not is_valid(body)


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"__metadata__": {"toise": STOP}},
        {"__metadata__": {}},
        {"__metadata__": {"toise": "{}"}, "x": {"dtype": "F8", "shape": [], "data_offsets": [0, 1]}},
        {"__metadata__": {"toise": "{}"}, "x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"__metadata__": {"toise": "{}"}, "x": {"dtype": "F32", "shape": [1] * 17, "data_offsets": [0, 4]}},
        {"__metadata__": {"toise": "{}"}, "x": {"dtype": "F32", "shape": [1], "data_offsets": [0]}},
        {"__metadata__": {"toise": "{}"}, **{f"x{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(65)}},
    ],
)
def test_what_is_no_header_is_not_valid(header):
    """The body is a string, and a tensor has all that says where it lies."""
    assert not is_valid(header, part("header"))


# --- The page -----------------------------------------------------------------------------------------


def test_the_bytes_of_the_page_are_a_message():
    """Each line's number, its bytes and its text agree; all of them are the result that the program gives, and no more."""
    rows = re.findall(r"^([0-9a-f]{4})  ((?:[0-9a-f]{2} )+) +\|(.{1,16})\|$", PAGE, re.MULTILINE)
    data = bytes.fromhex("".join(row for _, row, _ in rows))
    for at, row, text in rows:
        assert bytes.fromhex(row) == data[int(at, 16) :][:16]
        assert text == "".join(chr(byte) if 32 <= byte < 127 else "." for byte in bytes.fromhex(row))

    body, tensors, rest = first_of(data)
    (_, computed), _ = answers(message(START), layer_norm("f", (1.0, -1.0), [1, 2]))
    assert (body, tensors) == computed
    assert rest == b""
    assert f"is these {len(data)} bytes" in PAGE


def test_what_the_page_says_about_its_bytes_is_true():
    """Where each part begins, how long it is, and which number it holds."""
    data = bytes.fromhex("".join(re.findall(r"^[0-9a-f]{4}  ((?:[0-9a-f]{2} )+) +\|", PAGE, re.MULTILINE)))
    told = re.findall(r"^\| `([0-9a-f]{4})` \| (\d+) \| (?:(\S+) = `(0x[0-9a-f]+)`)?", PAGE, re.MULTILINE)
    end = 0
    for start, size, shown, held in told:
        begin, end = int(start, 16), int(start, 16) + int(size)
        number = int.from_bytes(data[begin:end], "little")
        if held:
            value = number if size == "8" else struct.unpack("<f", data[begin:end])[0]
            assert (number, f"{value:.7g}") == (int(held, 16), shown.replace("\N{MINUS SIGN}", "-"))

    assert len(told) == 4
    assert end == len(data)


def test_what_cannot_be_seen_is_what_exists():
    """Each line names a requirement, in order, and what becomes of it."""
    section = PAGE.split("## What cannot be seen over a pipe")[1].split("\n## ")[0]
    rows = re.findall(r"^\| \[([A-Z]+-\d+)\].* \| (.*) \|$", section, re.MULTILINE)

    assert len({id for id, _ in rows}) == len(rows) > 0
    assert all(toise_spec.requirement(id).level != "MAY" for id, _ in rows)
    assert {status for _, status in rows} == {"NOT PROVIDED", "in part"}


# --- The program --------------------------------------------------------------------------------------


def test_the_program_needs_nothing_but_the_standard_library():
    """So that it shows all that a port has to do; it can be started by its name too."""
    tree = ast.parse(PROGRAM.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert imported <= sys.stdlib_module_names
    assert os.access(PROGRAM, os.X_OK)


def test_the_program_starts_and_stops():
    """It says what it has; it ends with its input, or before that where it is told to."""
    ((started, tensors),), said = answers(message(START))

    assert started["operations"] == {"layer_norm": ["eps"], "causal_mask": ["m"]}
    assert started["dtypes"] == ["float64", "float32"]
    assert (tensors, said) == ({}, "")
    assert answers() == ([], "")
    assert answers(message(START), message(STOP), message(START))[0] == [(started, {})]


@pytest.mark.parametrize(("code", "digits"), [("d", 15), ("f", 7)])
def test_the_program_normalises(code, digits):
    """In the dtype of x, with the eps that is given, and with the default where none is."""
    plain = message({**RUN, "options": {}, "id": 9}, **first_of(layer_norm(code, (1.0, -1.0), [1, 2]))[1])
    (_, (body, with_eps), (_, without)), _ = answers(
        message(START), layer_norm(code, (3.0, 1.0), [1, 1, 2]), plain, message(STOP)
    )
    dtype, shape, data = with_eps["result"]

    assert body == {"message": "result", "id": 7, "operation": "layer_norm"}
    assert (dtype, shape) == ({"d": "F64", "f": "F32"}[code], [1, 1, 2])
    assert struct.unpack(f"<2{code}", data) == pytest.approx((1.5**-0.5, -(1.5**-0.5)), rel=10.0**-digits)
    assert struct.unpack(f"<2{code}", without["result"][2]) == pytest.approx((1.00001**-0.5, -(1.00001**-0.5)), rel=10.0**-digits)


def test_the_program_makes_masks():
    """Aligned at the bottom right, square where m is not given, and empty where a length is zero."""
    asked = [causal_mask(n=2), causal_mask(n=2, m=3), causal_mask(n=3, m=1), causal_mask(n=0, m=2), causal_mask(n=2, m=0)]
    (_, *found), _ = answers(message(START), *asked)

    assert [tensors["result"] for _, tensors in found] == [
        ("BOOL", [2, 2], bytes([1, 0, 1, 1])),
        ("BOOL", [2, 3], bytes([1, 1, 0, 1, 1, 1])),
        ("BOOL", [3, 1], bytes([0, 0, 1])),
        ("BOOL", [0, 2], b""),
        ("BOOL", [2, 0], b""),
    ]


def test_the_program_answers_for_no_rows():
    """A size of zero gives an empty result of that shape."""
    (_, (_, tensors)), _ = answers(message(START), layer_norm("f", (), [3, 0, 2]))

    assert tensors == {"result": ("F32", [3, 0, 2], b"")}


def test_what_the_program_cannot_do_is_an_error_and_it_goes_on():
    """A call that is malformed, a dtype that it lacks, and then a call like any other."""
    asked = [
        layer_norm("f", (1.0, -1.0), [1, 2], gamma=(1.0, 1.0, 1.0), id=1),
        layer_norm("e", (1.0, -1.0), [1, 2], id=2),
        layer_norm("f", (1.0, -1.0), [1, 2], id=3),
    ]
    (_, (malformed, _), (lacking, _), (right, _)), _ = answers(message(START), *asked)

    assert (malformed["id"], malformed["operation"], malformed["kind"]) == (1, "layer_norm", "raised")
    assert malformed["text"].startswith("ValueError: ")
    assert (lacking["id"], lacking["kind"]) == (2, "not provided")
    assert (right["id"], right["message"]) == (3, "result")


def test_the_program_has_no_device():
    """A start that asks for one fails, and says so."""
    ((body, _),), _ = answers(message({**START, "device": "cuda"}))

    assert body == {"message": "error", "id": 0, "kind": "raised", "text": "no device cuda"}


@pytest.mark.parametrize(
    "data",
    [
        b"\x02",
        b"hello, world",
        (2**21).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{}",
        message(START)[:-1],
        layer_norm("f", (1.0, -1.0), [1, 2])[:-1],
        message({"message": "hello"}),
        message({**START, "protocol": 2}),
    ],
)
def test_what_the_program_cannot_read_ends_it(data):
    """With a status other than 0 and a word on stderr, and with no answer."""
    found, said = answers(data, status=1)

    assert found == []
    assert said
