"""What a property test calls: one target at one dtype.

Inputs are made once, in the backend's dtype; the calling convention is kept; whatever the target does,
raise, exit or return nonsense, becomes a verdict and never escapes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from toise.bounds import PRECISIONS
from toise.declarations import CHOICES, MAY_RAISE, TRAITS
from toise.domain import LEADS, Domain, probed_domain
from toise.errors import Ended, OwnError, ToiseError, Unsupported, ending, text_of
from toise.inputs import USUAL, Case
from toise.inputs.magnitudes import fitted, storage_of
from toise.operations import OPERATIONS, Required, sublayer_through
from toise.verdict import DEADLY, EXAMPLE, Answer, Irrelevant, NotApplicable, NotProvided, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from toise.declarations import Declaration
    from toise.inputs import Recipe
    from toise.targets import Target

Array = np.ndarray
CACHE_SIZE = 1000
ARRAYS_HINT = " (the suite passed NumPy arrays: where the functions take torch tensors, declare __toise__ = {'arrays': 'torch'})"


# What is said of a call in which the process was at stake, where its own words are not enough.
ENDED_BY = {"exit": "tried to end the process ({})", "memory": "ran out of memory ({})"}


@dataclass(frozen=True)
class Corruption:
    """What came back from one call of `mlm_corrupt`: NumPy copies, and the two arrays themselves."""

    corrupted: Array
    selected: Array
    natives: tuple[Any, Any]


class Backend:
    """A target at one dtype, with the operations as methods that take and return float64 copies."""

    def __init__(self, target: Target, dtype: str) -> None:
        self.target, self.dtype, self.arrays = target, dtype, target.arrays
        self._cases: dict[Recipe, Case] = {}
        self._required: dict[bytes, Required] = {}
        self._corruptions: dict[tuple[bytes, tuple[int, ...]], tuple[Array, Array]] = {}
        self._domains: dict[str, Domain] = {}
        self._held: dict[tuple[str, str], Backend] = {}

    def declared(self, operation: str) -> Declaration:
        """Return what the target declares of an operation."""
        return self.target.declarations.operations[operation]

    def provides(self, operation: str) -> bool:
        """Tell whether the target has the operation at this dtype."""
        return not self.lacks(operation)

    def lacks(self, operation: str) -> str:
        """Say what is missing, the operation or the dtype; empty if neither is."""
        dtypes = self.target.declarations.dtypes
        if operation not in self.target.operations:
            return f"no operation {operation}"
        return "" if not dtypes or self.dtype in dtypes or OPERATIONS[operation].dtype else f"no dtype {self.dtype}"

    def other_choices(self, operation: str) -> Iterator[tuple[str, str, Backend]]:
        """Yield every semantic choice that the target did not make, and a backend that declares it."""
        declared = self.declared(operation)
        for key, values in CHOICES[operation].items():
            for value in values:
                if value not in (declared.choices[key], "unspecified"):
                    changed = dataclasses.replace(declared, choices={**declared.choices, key: value})
                    yield key, value, self._declaring(operation, changed)

    def other_ranks(self, operation: str) -> Iterator[tuple[int, Backend]]:
        """Yield ranks of the first array, if the target declares no domain, and a backend that declares that one alone."""
        declared = self.declared(operation)
        if declared.domain != Domain():
            return
        for lead in LEADS:
            rank = USUAL[operation].inner + len(lead)
            changed = dataclasses.replace(declared, domain=Domain(rank=(rank,)))
            yield rank, Backend(self._target_declaring(operation, changed), self.dtype)  # inputs are moved to that rank

    def other_traits(self, operation: str) -> Iterator[tuple[str, Backend]]:
        """Yield every trait that the target does not declare, and a backend that declares it too."""
        declared = self.declared(operation)
        for trait in TRAITS.get(operation, ()):
            if trait not in declared.traits:
                yield trait, self._declaring(operation, dataclasses.replace(declared, traits=(*declared.traits, trait)))

    def classes(self, operation: str) -> tuple[list[str], list[str]]:
        """Return the precision classes of the dtype that are stricter than the one held to, and those that are looser."""
        classes, held = list(PRECISIONS.get(self.dtype, ())), self.declared(operation).class_of(self.dtype)
        place = classes.index(held) if classes else 0
        return classes[:place], classes[place + 1 :]

    def held_to(self, operation: str, kind: str) -> Backend:
        """Return the backend of the same target that is held to another precision class, made once for all requirements."""
        if (operation, kind) not in self._held:
            self._held[operation, kind] = self._declaring(operation, self.declared(operation).held_to(self.dtype, kind))
        return self._held[operation, kind]

    def _declaring(self, operation: str, declared: Declaration) -> Backend:
        """Return a backend that declares something else of an operation; what was built for this one serves that one too."""
        other = Backend(self._target_declaring(operation, declared), self.dtype)
        other._cases, other._domains = self._cases, self._domains
        return other

    def _target_declaring(self, operation: str, declared: Declaration) -> Target:
        operations = {**self.target.declarations.operations, operation: declared}
        declarations = dataclasses.replace(self.target.declarations, operations=operations)
        return dataclasses.replace(self.target, declarations=declarations)

    def __getattr__(self, operation: str) -> Callable[..., Answer]:
        """Return the target's operation of that name, as a method that takes arrays and gives an Answer."""
        if operation not in OPERATIONS:
            raise AttributeError(operation)
        return partial(self._call, operation)

    def _call(self, operation: str, *data: Any, **options: Any) -> Answer:
        return self.run(_case(operation, data, options))

    def mlm_corrupt(self, tokens: Array, **options: Any) -> Corruption:
        """Call the target's `mlm_corrupt`, which returns a pair and is held to no single value."""
        case = _case("mlm_corrupt", (tokens,), options)
        return self.corruption(case, self.natives(case))

    def corruption(self, case: Case, natives: Mapping[str, Any]) -> Corruption:
        """Call the target's `mlm_corrupt` on these arrays."""
        result = self._result(case, natives)
        if not (isinstance(result, (tuple, list)) and len(result) == 2 and all(map(self.arrays.is_array, result))):
            got = _described(result)
            raise Violation("type", f"returned {got}; required: a pair of {self.arrays.name} arrays", got=got)
        corrupted, _ = self._check(case, result[0], (self.arrays.ids,), self.arrays.ids, "corrupted ")
        selected, _ = self._check(case, result[1], ("bool",), "bool", "selected ")
        return Corruption(corrupted.astype(np.int64), selected, tuple(result))

    def corruptions(self, case: Case, seeds: tuple[int, ...]) -> tuple[Array, Array]:
        """Call the target's `mlm_corrupt` with each seed, once for all requirements; return `corrupted` and `selected` of all.

        If a call goes wrong nothing is kept.
        """
        key = (case.digest, seeds)
        if key not in self._corruptions:
            made = [self.mlm_corrupt(case.tokens, **{**case.options, "seed": seed}) for seed in seeds]
            _make_room(self._corruptions)
            self._corruptions[key] = np.stack([each.corrupted for each in made]), np.stack([each.selected for each in made])
        elif example := EXAMPLE.get():
            example.calls.append(case.replace(seed=seeds[-1]))  # a counterexample shows the last call
        return self._corruptions[key]

    def forget_corruptions(self) -> None:
        """Forget what was drawn: whether a failure repeats is asked of the target anew."""
        self._corruptions.clear()

    def run(self, case: Case) -> Answer:
        """Call the target on fresh arrays and read the result."""
        return self.read(case, self.invoke(case, self.natives(case)))

    def domain(self, operation: str) -> Domain:
        """Return the part of the operation that the target implements: declared, or else found by a few calls."""
        if operation not in self._domains:
            declared = self.declared(operation).domain
            try:
                self._domains[operation] = declared if declared != Domain() else probed_domain(operation, self._implements)
            except Violation:
                self._domains[operation] = declared  # it dies or hangs: the requirements say so
        return self._domains[operation]

    def _implements(self, recipe: Recipe) -> bool:
        case = self.build(recipe)
        try:
            self.invoke(case, self.natives(case))
        except NotProvided:
            return False
        except (Violation, Irrelevant) as error:
            if isinstance(error, Violation) and error.kind in DEADLY:
                raise
            return True  # what it does wrong is for the requirements to say
        return True

    def build(self, recipe: Recipe) -> Case:
        """Build a recipe's inputs, rounded once to the dtype, once for all requirements."""
        if recipe not in self._cases:
            _make_room(self._cases)
            self._cases[recipe] = recipe.build(self.rounded)
        return self._cases[recipe]

    def rounded(self, values: Array) -> Array:
        """Return the numbers as the dtype holds them, all of them times a power of two where it has no room for the largest."""
        return self.arrays.rounded(fitted(values, storage_of(self.dtype)), self.dtype)

    def natives(self, case: Case) -> dict[str, Any]:
        """Return fresh arrays of the target's own kind that hold the data of `case`, and its mask if it has one.

        Data that is one array in the case is one array here: self-attention is given its tokens three times.
        Raises ToiseError if the dtype cannot hold a number exactly: the verdict would be on other inputs.
        """
        given = {**case.arrays, **({"mask": case.mask} if "mask" in case.options else {})}
        apart = {id(array): (array, self._dtype(array)) for array in given.values()}
        try:
            made = dict(zip(apart, self.arrays.make_all([*apart.values()]), strict=True))
        except ValueError as error:
            raise ToiseError(f"{', '.join(given)} hold {error}") from None
        return {name: made[id(array)] for name, array in given.items()}

    def _dtype(self, array: Array) -> str:
        """Return the dtype in which the target is given an array: its own for numbers that are not whole."""
        if array.dtype == np.int64:
            return self.arrays.ids
        return self.dtype if array.dtype == np.float64 else str(array.dtype)

    def refilled(self, natives: Mapping[str, Any], case: Case) -> Mapping[str, Any]:
        """Put the data of another case into the memory of these arrays, or into new ones if they never change.

        Raises Violation if the target made one of them read-only.
        """
        if not self.arrays.mutable:
            return self.natives(case)
        for name, native in natives.items():
            try:
                self.arrays.overwrite(native, case.mask if name == "mask" else case.arrays[name])
            except (ValueError, RuntimeError) as error:
                raise Violation("mutated", f"after the call {name} cannot be written into: {text_of(error)}") from None
        return natives

    def require_mutable(self) -> None:
        """Raise NotApplicable where nobody can write into an array, and sharing one does no harm."""
        if not self.arrays.mutable:
            raise NotApplicable("arrays of this kind never change")

    def bits(self, name: str, native: Any) -> bytes:
        """Return the bits that an input holds.  Raises Violation if the target took it away, as a donated array is."""
        try:
            return self.arrays.bits(native)
        except (ValueError, RuntimeError) as error:
            raise Violation("mutated", f"after the call {name} cannot be read: {text_of(error)}") from None

    def layouts(self, case: Case, name: str) -> Iterator[tuple[str, Any]]:
        """Yield one input of `case` in other memory layouts, each with the layout's name."""
        values = case.mask if name == "mask" else case.arrays[name]
        return self.arrays.layouts(values, self._dtype(values))

    def rejects(self, case: Case) -> bool:
        """Tell whether the target raises for a call; raises NotProvided if it says that it does not implement it."""
        try:
            self.invoke(case, self.natives(case))
        except Irrelevant:
            return True  # it may, as declared
        except Violation as violation:
            return violation.kind == "raised"
        return False

    def shape(self, case: Case) -> tuple[int, ...]:
        """Return the shape that the operation defines for the result."""
        return OPERATIONS[case.operation].shape(case)

    def invoke(self, case: Case, natives: Mapping[str, Any]) -> Any:
        """Call the target on these arrays; return what it returned, if that is an array.

        Raises NotProvided outside the target's domain, and Violation for anything else that it raises.
        """
        result = self._result(case, natives)
        if not self.arrays.is_array(result):
            raise Violation(
                "type", f"returned {_described(result)}; required: a {self.arrays.name} array", got=_described(result)
            )
        return result

    def _result(self, case: Case, natives: Mapping[str, Any]) -> Any:
        example = EXAMPLE.get()
        if example is not None:
            example.calls.append(case)
        operation = OPERATIONS[case.operation]
        if case.operation not in self.target.operations:
            raise NotProvided(f"no operation {case.operation}")
        declared = self.declared(case.operation).domain
        if not declared.holds(next(iter(case.arrays.values()), np.empty(())).ndim, operation.sizes(case)):
            raise NotProvided(f"outside the declared domain: {declared}")
        given = {**case.options, **natives}
        if "sublayer" in given and not callable(given["sublayer"]) and self.arrays.local:
            given["sublayer"] = sublayer_through(given["x"], given["sublayer"])
        options = {}
        for name, value in case.options.items():
            if name in operation.data:
                continue
            default = operation.options[name]
            if value is default or (name != "mask" and value == default):
                continue
            if not self.target.accepts(case.operation, name):
                raise NotProvided(f"no option {name}")
            options[name] = given[name]
        return self._guarded(case, [given[name] for name in operation.data], options)

    def _guarded(self, case: Case, natives: list[Any], options: dict[str, Any]) -> Any:
        """Run the target's own code, which may do anything."""
        try:
            result = self.target.operations[case.operation](*natives, **options)
            self.arrays.settle(result)
        except (Unsupported, NotImplementedError) as error:
            raise NotProvided(text_of(error) or f"raised {type(error).__name__}") from None
        except (KeyboardInterrupt, OwnError):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the target's
            raise self._consequence(case, error) from None
        return result

    def _consequence(self, case: Case, error: BaseException) -> Violation | Irrelevant:
        """Return what it means that a call gave no result."""
        kind = error.kind if isinstance(error, Ended) else ending(error)
        text = error.text if isinstance(error, Ended) else f"{type(error).__name__}: {text_of(error)}".removesuffix(": ")
        if kind in DEADLY:
            required = "" if kind == "protocol" else "; required: a result"  # that text says itself what is required
            violation = Violation(kind, f"{ENDED_BY.get(kind, '{}').format(text)}{required}", got=text)
            if example := EXAMPLE.get():
                example.ended = violation
            return violation
        if kind == "returned":
            required = f"a {self.arrays.name} array of {self.result_dtype(case.operation)}"
            return Violation("type", f"returned {text}; required: {required}", got=text)
        if self.may_raise(case):
            return Irrelevant("the call may raise here, as declared")
        about_arrays = "ndarray" in text or "Tensor" in text
        hint = ARRAYS_HINT if about_arrays and not self.target.arrays_declared else ""
        return Violation("raised", f"raised {text}; required: a result{hint}", got=text)

    def may_raise(self, case: Case) -> bool:
        """Tell whether the target declares that it may raise where no formula defines the result, and the case is such."""
        declared = self.declared(case.operation)
        if not set(MAY_RAISE) & set(declared.choices.values()):
            return False
        try:
            return bool(np.any(OPERATIONS[case.operation].excused(case, declared)))
        except ValueError:  # a mask of the wrong shape, in a call that is malformed on purpose
            return False

    def read(self, case: Case, native: Any) -> Answer:
        """Read a result into float64.  Raises Violation where it cannot be read, or has another shape or kind of dtype."""
        # Numbers where truth values are required are read as such: that they are is CAU-2's affair.
        kinds = ("bool", "float", "bfloat", "int", "uint") if OPERATIONS[case.operation].dtype else ("float", "bfloat")
        got, dtype = self._check(case, native, kinds, self.result_dtype(case.operation))
        return Answer(case, np.asarray(got, np.float64), native, dtype, partial(self.required, case))

    def _check(self, case: Case, native: Any, kinds: tuple[str, ...], required: str, what: str = "") -> tuple[Array, str]:
        """Return the numbers of an array, and its dtype; that must be of one of these kinds, and the shape that of the result."""
        whole = self.shape(case)
        try:
            shape, dtype = tuple(native.shape), self.arrays.dtype(native)
            fits = dtype.startswith(kinds) and shape == whole
            got = self.arrays.numbers(native) if fits else np.empty(0)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - reading a strange array may do anything
            told = f"{what}returned {_described(native)} that cannot be read ({text_of(error)})"
            raise Violation("type", f"{told}; required: a {self.arrays.name} array", got=_described(native)) from None
        if not dtype.startswith(kinds):
            raise Violation("dtype", f"{what}dtype {dtype}; required {required}", got=dtype, required=required)
        if shape != whole:
            raise Violation("shape", f"{what}shape {shape}; required {whole}", got=shape, required=whole)
        return got, dtype

    def result_dtype(self, operation: str) -> str:
        """Return the dtype that the result must have."""
        wide = self.declared(operation).choices.get("loss_dtype") == "float32" and self.dtype not in ("float64", "float32")
        return OPERATIONS[operation].dtype or ("float32" if wide else self.dtype)

    def required(self, case: Case) -> Required:
        """Return the value and the radius for one call, computed once for each inputs."""
        if case.digest not in self._required:
            _make_room(self._required)
            declared = self.declared(case.operation)
            self._required[case.digest] = OPERATIONS[case.operation].required(case, declared, declared.bounds(self.dtype))
        if example := EXAMPLE.get():
            example.required[case.digest] = self._required[case.digest]
        return self._required[case.digest]


def _case(operation: str, data: Sequence[Any], options: Mapping[str, Any]) -> Case:
    """Put the data and the options of a call together; data that is no array, such as a length, stands among the options."""
    named = dict(zip(OPERATIONS[operation].data, data, strict=True))
    arrays = {name: value for name, value in named.items() if isinstance(value, np.ndarray)}
    plain = {name: value for name, value in named.items() if name not in arrays}
    return Case(operation, arrays, {**plain, **options})


def _make_room(cache: dict[Any, Any]) -> None:
    if len(cache) >= CACHE_SIZE:
        cache.clear()


def _described(thing: object) -> str:
    return "None" if thing is None else f"a {type(thing).__module__}.{type(thing).__qualname__}".replace("a builtins.", "a ")
