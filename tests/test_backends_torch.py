"""The adapters to torch: what each declares is what torch does, on a CPU and, where there is one, on a CUDA device."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import toise
from misbehaviours import judged
from toise.arrays import DTYPES
from toise.backend import Backend
from toise.errors import Unsupported
from toise.inputs import Case
from toise.targets import load
from toise.verdict import Violation

torch = pytest.importorskip("torch", reason="torch is not installed")

from toise.arrays.torch_arrays import ALIGNED, TorchArrays  # noqa: E402 - needs torch
from toise.backends import compiler, torch_adapter, torch_compile, torch_flex, torch_nn, torch_sdpa  # noqa: E402
from toise.backends.torch_adapter import MATMUL, PRODUCTS, SUMS, Flags, declarations  # noqa: E402

F = torch.nn.functional
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CPU_TARGETS = ("torch", "torch-tf32", "torch-deterministic", "torch-nn", "torch-nn-slow", "torch-sdpa-math", "torch-sdpa-flash")
CUDA_TARGETS = (*CPU_TARGETS, "torch-sdpa-efficient", "torch-sdpa-cudnn")
SELECTED = {"ATT-1": "attention", "MHA-1": "multi_head_attention", "FFN-1": "feed_forward", "LN-1": "layer_norm"}
SELECTED |= {"MLM-18": "mlm_loss", "AR-1": "sequence_log_prob"}
HEADS = torch.nn.functional.one_hot(torch.arange(4)).float().view(2, 2, 4).transpose(1, 2)  # [h, d_model, d_k]: a split
TOKENS = torch.linspace(-2, 2, 24).view(2, 3, 4)


def state():
    """Return all that the variants of the adapter may change."""
    precision = MATMUL.fp32_precision if hasattr(MATMUL, "fp32_precision") else MATMUL.allow_tf32
    sums = tuple(getattr(MATMUL, name) for name in SUMS)
    return precision, sums, torch.get_deterministic_debug_mode(), os.environ.get("CUBLAS_WORKSPACE_CONFIG")


def attend(backend, *data, **options):
    """Return attention of a backend, or what it says that it cannot do."""
    try:
        return backend.attention(*data, **options)
    except Unsupported as error:
        return str(error)


def called(function, *data, **options):
    """Return the operators of torch that a call comes to."""
    with torch.profiler.profile() as profile:
        function(*data, **options)
    return {event.key for event in profile.key_averages()}


@pytest.mark.parametrize("name", CPU_TARGETS)
def test_an_adapter_is_loaded_and_declares_something(name):
    """On a CPU, where all of these can be had."""
    target = load(name)

    assert target.operations
    assert target.declarations.version == torch.__version__
    assert target.arrays.name == "torch"


@pytest.mark.parametrize("name", CPU_TARGETS)
def test_a_few_requirements_hold(name):
    """In one float dtype, with a fixed list of inputs."""
    operations = load(name).operations
    chosen = [id for id, operation in SELECTED.items() if operation in operations]

    report = judged(name, chosen, dtypes=["float32"])
    assert report.passed, report


def test_declarations_follow_the_device():
    """Those of CUDA are known where there is none: they depend on the name of the device and on the flags alone."""
    cpu, cuda, mps = (declarations(device, Flags()) for device in ("cpu", "cuda:1", "mps"))

    assert declarations(None, Flags()) == cpu
    assert "split-k" not in str(cpu)
    assert [name for name in PRODUCTS if "split-k" in cuda[name].get("traits", ())] == ["multi_head_attention", "feed_forward"]
    assert "TF32" not in f"{cpu}{cuda}{mps}"
    assert cpu["dtypes"] == cuda["dtypes"] == [*mps["dtypes"][:1], "float64", *mps["dtypes"][1:]]
    assert cpu["mlm_loss"]["precision"]["bfloat16"] == "STEPWISE"
    assert cuda["mlm_loss"]["precision"]["bfloat16"] == mps["mlm_loss"]["precision"]["bfloat16"] == "EAGER"


def test_declarations_follow_the_flags():
    """On CUDA alone: the flags are those of cuBLAS."""
    flags = Flags(tf32=True, narrow_sums=False)

    assert {declarations("cuda", flags)[name]["precision"]["float32"] for name in PRODUCTS} == {"TF32"}
    assert "split-k" not in str(declarations("cuda", flags))
    assert declarations("cpu", flags) == declarations("cpu", Flags())
    narrow = declarations("cuda", Flags(narrow_math=True))["attention"]
    assert (narrow["precision"]["bfloat16"], narrow["traits"]) == ("EAGER", ["split-k", "stored-prescale"])


def test_the_flags_of_torch_are_read(monkeypatch):
    """As they are when the declarations are asked for."""
    assert Flags.now() == Flags()
    with torch_adapter.tf32_allowed(allowed=True):
        assert Flags.now() == Flags(tf32=True)
        with torch_adapter.deterministically():
            assert Flags.now() == Flags(narrow_sums=False)
        assert Flags.now() == Flags(tf32=True)


def test_the_variants_declare_what_they_set():
    """Where the device has it, and whatever the flags are outside."""
    tf32 = torch_adapter.tf32.__toise__("cuda")
    assert {tf32[name]["precision"]["float32"] for name in PRODUCTS} == {"TF32"}
    assert "float32" not in tf32["layer_norm"]["precision"]
    assert "TF32" not in str(torch_adapter.tf32.__toise__("cpu")["feed_forward"])
    with torch_adapter.tf32_allowed(allowed=True):
        deterministic = torch_adapter.deterministic.__toise__("cuda")
    assert "split-k" not in str(deterministic)
    assert "TF32" not in str(deterministic)


@pytest.mark.parametrize("workspace", [None, ":16:8"])
def test_flags_are_set_inside_a_call_and_put_back_after_it(monkeypatch, workspace):
    """Also after an exception."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    if workspace:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", workspace)
    before, seen = state(), []

    def look(x):
        seen.append(state())
        return x

    def fail(x):
        look(x)
        raise ValueError("a sublayer")

    for variant in (torch_adapter.tf32, torch_adapter.deterministic):
        variant.residual(torch.ones(2), look)
        assert state() == before
        with pytest.raises(ValueError, match="a sublayer"):
            variant.residual(torch.ones(2), fail)
        assert state() == before
    tf32, deterministic = seen[0], seen[2]
    assert seen == [tf32, tf32, deterministic, deterministic]
    assert tf32[0] in {"tf32", True}
    assert tf32[1:] == before[1:]
    assert deterministic[0] in {"ieee", False}
    assert deterministic[1:] == ((False, False), 2, workspace or ":4096:8")


def test_the_kernel_for_four_axes_gives_nan_where_it_is_not_asked():
    """On a CPU, with is_causal and a scale of 0 or less: the adapter says so, and refuses nothing else."""
    x = torch.ones(1, 1, 2, 1)

    assert F.scaled_dot_product_attention(x, x, x, is_causal=True, scale=0.0).isnan().any()
    assert "gives NaN" in attend(torch_adapter, x, x, x, causal=True, scale=0.0)
    assert "gives NaN" in attend(torch_sdpa.flash, x, x, x, causal=True, scale=-1.0)
    for backend, data in ((torch_adapter, x[0]), (torch_sdpa.math, x)):
        assert (attend(backend, data, data, data, causal=True, scale=0.0) == 1).all()


def test_the_causal_order_starts_at_the_top_left():
    """As is declared of attention and of multi-head attention."""
    q, k, v = torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 2, 2), torch.tensor([[[[1.0, 1.0], [3.0, 3.0]]]])

    for backend in (torch_adapter, torch_sdpa.math, torch_sdpa.flash):
        assert attend(backend, q, k, v, causal=True).tolist() == [[[[1.0, 1.0]]]]


def test_what_torch_has_no_arguments_for_is_refused():
    """With words that say what."""
    x = TOKENS
    mask = torch.ones(3, 3, dtype=torch.bool).tril()
    assert "not both" in attend(torch_adapter, x, x, x, mask=mask, causal=True)
    for backend in (torch_adapter, torch_nn.fast, torch_nn.slow):
        with pytest.raises(Unsupported, match="one leading axis"):
            backend.multi_head_attention(x[None], x[None], x[None], HEADS, HEADS, HEADS, torch.eye(4))
        with pytest.raises(Unsupported, match="d_v = d_k"):
            backend.multi_head_attention(x, x, x, HEADS, HEADS, HEADS[..., :1], torch.ones(2, 4))
        with pytest.raises(Unsupported, match="key_padding_mask for all queries"):
            backend.multi_head_attention(x, x, x, HEADS, HEADS, HEADS, torch.eye(4), mask=mask, causal=True)


def test_a_kernel_says_why_it_cannot_in_the_words_of_torch():
    """Its warnings, which nobody else sees; other errors stay what they are."""
    x = TOKENS

    assert "4 dimensional" in attend(torch_sdpa.flash, x, x, x)
    assert "same last dimension" in attend(torch_sdpa.flash, x[None], x[None], x[None, ..., :2])
    for kernel in (torch_sdpa.efficient, torch_sdpa.cudnn):
        assert attend(kernel, x, x, x).startswith(kernel.backend.name)
    with pytest.raises(RuntimeError, match="size"):
        torch_sdpa.math.attention(x, x[..., :2], x)
    assert torch.nn.attention._cur_sdpa_kernel_backends() != [torch.nn.attention.SDPBackend.MATH]  # noqa: SLF001


def test_each_kernel_is_the_one_that_is_called():
    """By the names of the operators."""
    x = TOKENS[None]

    assert "aten::_scaled_dot_product_attention_math" in called(torch_sdpa.math.attention, x, x, x)
    assert any("flash_attention" in name for name in called(torch_sdpa.flash.attention, x, x, x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", [{}, {"causal": True}, {"mask": torch.ones(3, 3, dtype=torch.bool).tril()}])
def test_the_fast_path_is_taken_by_self_attention_and_by_nothing_else(dtype, options):
    """One batch of tokens for q, k and v, in `fast`; `slow` never takes it, and torch's own setting stays."""
    x, heads, w_o = (array.to(dtype) for array in (TOKENS, HEADS, torch.eye(4)))
    fast = "aten::_native_multi_head_attention"
    arguments = (heads, heads, heads, w_o)

    assert fast in called(torch_nn.fast.multi_head_attention, x, x, x, *arguments, **options)
    assert fast not in called(torch_nn.fast.multi_head_attention, x, x.clone(), x, *arguments, **options)
    assert fast not in called(torch_nn.slow.multi_head_attention, x, x, x, *arguments, **options)
    assert torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(RuntimeError):
        torch_nn.slow.multi_head_attention(x, x, x, *arguments, mask=torch.ones(2, 2, dtype=torch.bool))
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_query_without_keys_is_nan_on_the_fast_path_and_zeros_on_the_slow_one():
    """So that `fast` declares nothing of it."""
    x, mask = TOKENS, torch.tensor([[False] * 3, [True] * 3, [True] * 3])
    arguments = (HEADS, HEADS, HEADS, torch.eye(4))

    assert torch_nn.fast.multi_head_attention(x, x, x, *arguments, mask=mask)[:, 0].isnan().all()
    for backend, k in ((torch_nn.fast, x.clone()), (torch_nn.slow, x)):
        assert (backend.multi_head_attention(x, k, x, *arguments, mask=mask)[:, 0] == 0).all()
    assert torch_nn.fast.__toise__(None)["multi_head_attention"]["empty_row"] == "unspecified"


def test_modules_hold_the_weights_that_are_given():
    """No copies of them, and none of the numbers that a module is made with."""
    gamma, beta = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0])
    y = torch_nn.fast.layer_norm(torch.tensor([[1.0, -1.0]]), gamma, beta, eps=0.0)
    ones = torch.ones(2, 3), torch.zeros(3), torch.ones(3, 2), torch.ones(2)

    assert y.tolist() == [[1.0, -1.0]]
    assert not y.requires_grad
    assert torch_nn.slow.feed_forward(torch.tensor([[1.0, 2.0], [-1.0, 0.0]]), *ones).tolist() == [[10.0, 10.0], [1.0, 1.0]]


@pytest.mark.filterwarnings("ignore")  # of Inductor's own imports
@pytest.mark.skipif(bool(compiler()), reason="needs a C++ compiler")
def test_what_is_compiled_is_one_graph_and_its_folder_is_put_away(monkeypatch):
    """Without graph breaks, with no limit at which torch stops compiling, and with a cache of its own."""
    monkeypatch.delenv(torch_compile.CACHE, raising=False)
    x, limit = torch.tensor([[1.0, -1.0], [3.0, 1.0]]), torch._dynamo.config.recompile_limit  # noqa: SLF001
    torch._dynamo.utils.counters.clear()  # noqa: SLF001

    y = torch_compile.layer_norm(x, torch.ones(2), torch.zeros(2), eps=0.0)

    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1  # noqa: SLF001
    assert y.tolist() == [[1.0, -1.0], [1.0, -1.0]]
    assert torch._dynamo.config.recompile_limit == limit  # noqa: SLF001
    assert torch_compile.CACHE not in os.environ


def test_a_limit_on_compiling_is_an_error(monkeypatch):
    """Nothing runs as it is without a word: the backend compiles to nothing here, so that this costs little."""
    monkeypatch.setattr(torch_compile, "LIMIT", 1)
    graph = torch.compile(lambda x: x + 1, fullgraph=True, dynamic=True, backend="eager")
    with torch_compile.compiling():
        graph(torch.ones(2))
        with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):  # noqa: SLF001
            graph(torch.ones(2, dtype=torch.float64))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own, while it compiles
@pytest.mark.skipif(bool(compiler()), reason=compiler())
def test_flex_attention_takes_a_mask_and_the_causal_order_together():
    """Four axes alone; a query without keys gives zeros, and the causal order starts at the top left."""
    x, mask = torch.ones(1, 1, 3, 4), torch.tensor([[False] * 3, [True] * 3, [False, True, True]])
    v = torch.tensor([1.0, 2.0, 4.0]).view(1, 1, 3, 1).repeat(1, 1, 1, 4)

    y = torch_flex.attention(x, x.clone(), v, mask=mask, causal=True)

    torch.testing.assert_close(y, torch.tensor([0, 1.5, 3]).view(1, 1, 3, 1).expand(-1, -1, -1, 4))
    for options in ({"mask": mask}, {"causal": True}):
        with pytest.raises(NotImplementedError, match="4D tensors"):
            torch_flex.attention(x[0], x[0], v[0], **options)
    for device in ("cpu", "cuda"):
        assert torch_flex.__toise__(device)["attention"]["causal_alignment"] == "top-left"


EVERY = [
    *((np.linspace(-1, 1, 7).reshape(1, 7), dtype) for dtype in DTYPES),
    (np.ones((), bool), "bool"),
    (np.zeros((0, 3)), "float64"),
    (np.array(5.0), "float16"),
    (np.arange(3), "int64"),
    (np.zeros((2, 0), bool), "bool"),
    (np.array([[True, False, True]]), "bool"),
]


def test_arrays_are_packed_for_the_way_and_unpacked_there():
    """All dtypes, scalars and nothing at all; each result has memory of its own, which begins where any kernel can read it."""
    arrays = TorchArrays("cpu")
    hosts = [arrays._held(*each) for each in EVERY]  # noqa: SLF001

    moved = arrays.moved(hosts)

    assert len(moved) == len(hosts)
    for host, there in zip(hosts, moved, strict=True):
        assert (there.dtype, there.shape, there.is_contiguous()) == (host.dtype, host.shape, True)
        assert arrays.bits(there) == arrays.bits(host)
        assert there.data_ptr() % ALIGNED == 0
    places = [each.untyped_storage().data_ptr() for each in (*hosts, *moved) if each.numel()]
    assert len(places) == len(set(places))
    assert arrays.moved([]) == []


@pytest.fixture
def elsewhere(monkeypatch):
    """Let the CPU be taken for a device that finishes late, and count what happens on it."""
    counts = {"moved": 0, "settled": 0, "fails": None}

    class Device:
        @staticmethod
        def synchronize(device):
            assert device == "cpu:0"
            counts["settled"] += 1
            if counts["fails"]:
                raise RuntimeError(counts["fails"])

    def moved(self, hosts, move=TorchArrays.moved):
        counts["moved"] += 1
        self.device = "cpu"
        there = move(self, hosts)
        self.device = "cpu:0"
        return there

    monkeypatch.setattr(torch, "get_device_module", lambda device: Device)
    monkeypatch.setattr(TorchArrays, "moved", moved)
    return counts


def backend_elsewhere(function):
    """Return a backend of one operation, on that device."""
    return Backend(load({"__toise__": {"arrays": "torch"}, "layer_norm": function}, device="cpu:0"), "float32")


CASE = Case("layer_norm", {"x": np.array([[1.0, -1.0]]), "gamma": np.ones(2), "beta": np.zeros(2)}, {"eps": 1e-5})


def test_a_call_sends_its_arrays_together_and_waits_for_the_device_once(elsewhere):
    """After it, and before its result is read."""
    backend_elsewhere(torch_adapter.layer_norm).run(CASE)

    assert (elsewhere["moved"], elsewhere["settled"]) == (1, 1)


def test_what_a_device_tells_late_is_told_of_the_call_that_made_it(elsewhere):
    """While it is waited for."""
    backend = backend_elsewhere(torch_adapter.layer_norm)
    elsewhere["fails"] = "CUDA error: device-side assert triggered"

    with pytest.raises(Violation, match="device-side assert"):
        backend.run(CASE)


@CUDA
@pytest.mark.cuda
@pytest.mark.parametrize("name", CUDA_TARGETS)
def test_an_adapter_passes_on_cuda(name):
    """In every dtype; what a kernel cannot do is NOT PROVIDED there too."""
    report = toise.verify(name, device="cuda", dtypes=list(DTYPES), budget="smoke")

    assert report.passed, report


ASSERTING = """
    import torch

    __toise__ = {"arrays": "torch"}

    def sequence_log_prob(logits, tokens):
        beyond = tokens + logits.shape[-1]  # an index out of range, which the device finds when it comes to it
        return logits.log_softmax(-1)[..., :-1, :].gather(-1, beyond[..., 1:, None]).sum((-2, -1))

    def layer_norm(x, gamma, beta, *, eps=1e-5):
        return torch.nn.functional.layer_norm(x, (x.shape[-1],), gamma, beta, eps)
"""


@CUDA
@pytest.mark.cuda
def test_an_assert_on_the_device_is_one_crash_of_the_call_that_made_it(backend_file, toise):
    """Isolated: the process is of no more use then, and what follows is judged in another one."""
    done = toise("check", backend_file(ASSERTING), "--device", "cuda", "--isolate", "--budget", "smoke", "-k", "AR-1 or LN-1")

    assert re.search(r"AR-1 +sequence_log_prob +CRASH", done.stdout), done.stdout
    assert re.search(r"LN-1 +layer_norm +PASS", done.stdout), done.stdout


@CUDA
@pytest.mark.cuda
def test_an_assert_on_the_device_is_told_of_the_call_that_made_it():
    """By `settle`, in a process that is thrown away, since the device is of no more use to it."""
    code = (
        "import torch; from toise.arrays.torch_arrays import TorchArrays; arrays = TorchArrays('cuda')\n"
        "y = torch.ones(2, device='cuda')[torch.tensor([9], device='cuda')]\n"
        "try:\n    arrays.settle(y)\nexcept RuntimeError as error:\n    print('told:', error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "told: " in done.stdout
    assert "assert" in done.stdout


@CUDA
@pytest.mark.cuda
def test_a_call_has_one_transfer_each_way():
    """As the profiler counts them: all arrays go together, and the result comes back."""
    backend = Backend(load("torch", device="cuda"), "float32")
    backend.run(CASE)
    with torch.profiler.profile(activities=list(torch.profiler.supported_activities())) as profile:
        backend.run(CASE)

    events = [event.name for event in profile.events()]
    assert sum("HtoD" in name for name in events) == 1
    assert sum("DtoH" in name for name in events) == 1
