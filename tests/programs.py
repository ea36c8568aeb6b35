"""Backends and programs that are right, but for one call: the causal mask of 33 queries."""

import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"
_BACKEND = """
import ctypes, os, signal, sys, threading, time
import numpy as np

def layer_norm(x, gamma, beta, *, eps=1e-5):
    return gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) + beta

def causal_mask(n, m=None):
    m = n if m is None else m
    if n == 33:
        {wrong}
    return np.tri(n, m, m - n, dtype=bool)
"""
_PROGRAM = """
import json, os, signal, sys, time
sys.path.insert(0, {examples!r})
import program

right, answer, asked = program.send, program.answer, {{}}

def noted(body, tensors):
    asked.update(body)
    return answer(body, tensors)

def send(stream, body, tensors):
    last = asked.get("operation") == "causal_mask" and asked["options"]["n"] == 33
    (wrong if last else right)(stream, body, tensors)

def raw(stream, data):
    stream.write(data)
    stream.flush()

def wrong(stream, body, tensors):
    {wrong}

program.answer, program.send = noted, send
{before}
program.main()
"""


def backend(wrong):
    """Return the text of a Python backend that does this where 33 queries come."""
    return _BACKEND.format(wrong=wrong)


def program(folder, wrong="right(stream, body, tensors)", before=""):
    """Write a program that answers so where 33 queries come, or has something changed before it begins; return its command."""
    path = Path(folder) / "program_with_one_thing_wrong.py"
    path.write_text(_PROGRAM.format(examples=str(EXAMPLES), wrong=wrong, before=before), encoding="utf-8")
    return sys.executable, str(path)


# What a Python backend may do, the outcome, and words of the message; each where --memory is 1, and --timeout too for a TIMEOUT.
KILLING = {
    "SIGSEGV": ("os.kill(os.getpid(), signal.SIGSEGV)", "CRASH", "killed by signal 11 (SIGSEGV)"),
    "a null pointer": ("ctypes.string_at(0)", "CRASH", "killed by signal 11 (SIGSEGV)"),
    "SIGABRT": ("os.abort()", "CRASH", "killed by signal 6 (SIGABRT)"),
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", "CRASH", "killed by signal 9 (SIGKILL)"),
    "exit 0": ("os._exit(0)", "CRASH", "the process ended with exit status 0"),
    "exit 3": ("os._exit(3)", "CRASH", "the process ended with exit status 3"),
    "SystemExit": ("sys.exit(3)", "CRASH", "tried to end the process (SystemExit: 3)"),
    "no memory": ("np.ones(2**28)", "CRASH", "ran out of memory (MemoryError: Unable to allocate 2.00 GiB"),
    "the GIL held": ("sum(range(10**11))", "TIMEOUT", "gave no answer within 1 s"),
    "the GIL released": ("time.sleep(1000)", "TIMEOUT", "gave no answer within 1 s"),
    "stopped": ("os.kill(os.getpid(), signal.SIGSTOP)", "TIMEOUT", "gave no answer within 1 s"),
    "stderr without end": (
        "while True: os.write(2, b'on and on\\n' * 1000)",
        "TIMEOUT",
        "gave no answer within 1 s; its standard error: o",
    ),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", "FAIL", "raised KeyboardInterrupt"),
    "text that nobody can print": (
        "raise ValueError('a\\ud800\\x1b\\nb')",
        "FAIL",
        r"raised ValueError: a\ud800\x1b b; required",
    ),
}
HARMLESS = {
    "print": "print('hello')",
    "what C prints": "os.write(1, b'hello')",
    "much on stderr": "os.write(2, b'x' * 3_000_000)",
    "a copy that returns too": "os.fork()",
    "a copy that sleeps": "os.fork() or time.sleep(1000)",
    "a copy of a copy in a session of its own": "os.fork() or (os.setsid(), os.fork(), time.sleep(1000))",
    "a thread": "threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()",
}
# What a program may answer, and words of the message.
_HEADER = "raw(stream, len(text := json.dumps({{'__metadata__': {{'toise': json.dumps(body)}}, 'result': {}}}).encode())"
_HEADER += ".to_bytes(8, 'little') + text)"
_BEGUN = "raw(stream, b'x\\0\\0\\0\\0\\0\\0\\0{')"
MALFORMED = {
    "garbage": ("raw(stream, b'loading the weights')", "a header of 2334956330749620076 bytes; at most 1048576; the bytes begin"),
    "garbage without end": ("while True: raw(stream, b'z' * 10**6)", "a header of 8825501086245354106 bytes"),
    "a huge header": ("raw(stream, (2**60).to_bytes(8, 'little'))", "a header of 1152921504606846976 bytes; at most 1048576"),
    "a huge tensor": (
        _HEADER.format("{'dtype': 'BOOL', 'shape': [2**60], 'data_offsets': [0, 2**60]}"),
        "1152921504606846976 bytes of tensors; at most 1073741824",
    ),
    "a tensor of another size": (
        _HEADER.format("{'dtype': 'F32', 'shape': [3], 'data_offsets': [0, 8]}"),
        "tensor 'result' of shape [3] has 8 bytes; required: 12",
    ),
    "a dtype that is none": (
        "right(stream, body, {'result': ('F8', [1], b'1')})",
        "tensor 'result' has dtype 'F8'; required: F64",
    ),
    "a closed output": ("os.close(1); time.sleep(1000)", "closed its standard output"),
    "an output closed in a message": (
        f"{_BEGUN}; os.close(1); time.sleep(1000)",
        "closed its standard output after 9 of 128 bytes of an answer",
    ),
    "another operation": (
        "right(stream, {**body, 'operation': 'layer_norm'}, tensors)",
        "the answer has operation 'layer_norm'; required: 'causal_mask'",
    ),
    "another id": ("right(stream, {**body, 'id': 10**6}, tensors)", "the answer has id 1000000; required: "),
    "the answer to start": (
        "right(stream, program.STARTED, {})",
        "the answer to run is a message 'started'; required: result or",
    ),
    "another message": (
        "right(stream, {**body, 'message': 'done'}, {})",
        "the answer to run is a message 'done'; required: result",
    ),
    "another name": ("right(stream, body, {'y': tensors['result']})", "the result has y; required: result"),
    "no tensor": ("right(stream, body, {})", "the result has no tensor; required: result"),
    "another kind of error": (
        "right(stream, {**body, 'message': 'error', 'kind': 'tired', 'text': ''}, {})",
        "an error of kind 'tired'; required: raised, not provided, exit, memory or returned",
    ),
    "an error without a text": ("right(stream, {**body, 'message': 'error', 'kind': 'raised'}, {})", "text of an error is None"),
    "NaN in JSON": ("right(stream, {**body, 'speed': float('nan')}, tensors)", "the body cannot be read: NaN is no JSON"),
    "two answers at once": (
        "import io; both = io.BytesIO(); right(both, body, tensors); raw(stream, both.getvalue() * 2)",
        "bytes after the message: b",
    ),
}
ENDING = {
    "no message": ("pass", "TIMEOUT", "gave no answer within 1 s"),
    "less than a length": ("raw(stream, b'hi')", "TIMEOUT", "gave no more than 2 of 8 bytes of an answer within 1 s"),
    "a message that stops": (_BEGUN, "TIMEOUT", "gave no more than 9 of 128 bytes of an answer within 1 s"),
    "an end in a message": (f"{_BEGUN}; os._exit(5)", "CRASH", "the process ended with exit status 5"),
    "a signal in a message": (f"{_BEGUN}; os.abort()", "CRASH", "killed by signal 6 (SIGABRT)"),
    "a result of another shape": (
        "right(stream, body, {'result': ('BOOL', [1], bytes([1]))})",
        "FAIL",
        "shape (1,); required (33, 33)",
    ),
}
# What a program may do before a start is answered, and what is said.
UNUSABLE = {
    "an end": ("sys.exit(4)", "the process ended with exit status 4"),
    "an end with words": ("sys.exit('no license')", "the process ended with exit status 1; its standard error: no license"),
    "a signal": ("os.abort()", "the process was killed by signal 6 (SIGABRT)"),
    "silence": ("time.sleep(1000)", "gave no answer within 0.7 s"),
    "another version": ("program.STARTED['protocol'] = 2", "broke the protocol: started says protocol 2; required: 1"),
    "another operation": (
        "program.STARTED['operations'] = {'softmax': []}",
        "broke the protocol: started has an unknown operation 'softmax'; known: attention,",
    ),
    "another option": (
        "program.STARTED['operations'] = {'causal_mask': ['k']}",
        "broke the protocol: options of causal_mask are ['k']; required: a list of some of: m",
    ),
    "no operation": ("program.STARTED['operations'] = {}", "provides none of the operations attention,"),
    "another declaration": (
        "program.STARTED['declarations'] = {'causal_mask': {'causal_alignment': 'middle'}}",
        "__toise__ declares causal_mask.causal_alignment = 'middle'; required: bottom-right, top-left",
    ),
    "an error": (
        "program.STARTED.update(message='error', id=0, kind='raised', text='no device')",
        "no device",
    ),
    "garbage": ("print('hello, world'); sys.stdout.flush()", "broke the protocol: a header of"),
}
