"""The engine: one requirement, one property test, one backend, one verdict.

A property test is a plain function of a backend and a case.  pytest, `toise.verify` and the command all
judge it here, without pytest: a fixed list of recipes first, then Hypothesis explores and shrinks.
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import json
import shlex
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import hypothesis
import numpy as np
import toise_spec
from hypothesis import HealthCheck, Phase, Verbosity, given, settings

from toise.errors import ToiseError
from toise.operations import OPERATIONS
from toise.report import Counterexample, Row
from toise.verdict import DEADLY, EXAMPLE, KINDS, Example, Irrelevant, NotApplicable, NotProvided, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hypothesis.strategies import SearchStrategy

    from toise.backend import Backend
    from toise.inputs import Recipe, Recipes

T = TypeVar("T")
SUITE = (
    "toise.suite.test_general",
    "toise.suite.test_attention",
    "toise.suite.test_multi_head_attention",
    "toise.suite.test_feed_forward",
    "toise.suite.test_layer_norm",
    "toise.suite.test_residual",
    "toise.suite.test_causal_mask",
    "toise.suite.test_masked_language_model",
    "toise.suite.test_autoregressive",
)
# How many examples Hypothesis explores, beside the fixed recipes.
BUDGETS = {"smoke": 0, "standard": 15, "thorough": 500}
# With fewer relevant examples than this a requirement has not been tried.
ENOUGH = 5
# Where more than this share of the elements of an input is excused, on average, what was compared says too little.
EXCUSED = 0.2
# What is counted of each row, as `report.schema.json` explains it.
EXAMPLES = ("run", "relevant", "irrelevant", "unsupported", "inapplicable", "reshaped", "known")
ELEMENTS = ("checked", "excused", "defined", "overflow")
# Steps that shrinking may take for one requirement: a bound that does not depend on the clock.
SHRINKING = 40
# What one requirement may spend where a call ends the process: twelve new processes, or three waits.
WEAR = {"crash": 1, "protocol": 1, "memory": 1, "timeout": 4}
WORN = 12


@dataclass(frozen=True)
class Property:
    """A requirement, the test that decides it, and what the test is tried on, for each operation."""

    requirement: toise_spec.Requirement
    name: str
    test: Callable[[Backend, Any], None]
    inputs: Mapping[str, Recipes]

    @property
    def id(self) -> str:
        """The requirement's id."""
        return self.requirement.id

    @property
    def title(self) -> str:
        """The test's name as words: "eps is added to the variance"."""
        return self.name.removeprefix("test_").replace("_", " ")

    @property
    def operations(self) -> tuple[str, ...]:
        """The operations that the requirement speaks of."""
        return tuple(self.inputs)


def requirement(id: str, **inputs: Recipes | Mapping[str, Recipes]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function of (backend, case) the property test of one requirement.

    The one keyword names the function's second argument, and gives the recipes that it is tried on:
    `@requirement("LN-3", rows=token_rows(eps=(0.5,)))`.  What comes back is what pytest collects.
    Raises SpecError for an id that the specification does not have.
    """
    required = toise_spec.requirement(id)
    ((argument, recipes),) = inputs.items()
    each = recipes if isinstance(recipes, Mapping) else {recipes.fixed[0].operation: recipes}

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        def collected(toise_judge: Callable[[Property], None]) -> None:
            toise_judge(collected.property)  # type: ignore[attr-defined]

        collected.property = Property(required, test.__name__, lambda backend, case: test(backend, **{argument: case}), each)  # type: ignore[attr-defined]
        collected.__name__, collected.__qualname__ = test.__name__, test.__qualname__
        collected.__doc__, collected.__module__ = test.__doc__, test.__module__
        return collected

    return mark


def properties() -> list[Property]:
    """Return every property test of the suite, in the order of the modules and of their text.

    Raises ToiseError if two tests cite one requirement.
    """
    found: dict[str, Property] = {}
    for name in SUITE:
        for thing in vars(importlib.import_module(name)).values():
            prop = getattr(thing, "property", None)
            if isinstance(prop, Property):
                if prop.id in found and found[prop.id] is not prop:
                    raise ToiseError(f"two tests cite {prop.id}")
                found[prop.id] = prop
    return list(found.values())


def property_of(id: str) -> Property:
    """Return the property test of one requirement."""
    return next(prop for prop in properties() if prop.id == id)


@dataclass
class Trial:
    """The examples of one requirement on one backend, and what they showed."""

    prop: Property
    backend: Backend
    operation: str
    failures: dict[Recipe, Violation] = field(default_factory=dict)
    seen: dict[Recipe, bool] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*EXAMPLES, *ELEMENTS), 0))
    ratios: dict[Recipe, float] = field(default_factory=dict)
    excused: list[float] = field(default_factory=list)
    """The share of elements that are excused, of each input that was not aimed at overflow: a long row counts as one."""
    rounded: bool = False
    """Whether the radius of any result was asked for: else the verdict is the same in every precision class."""
    vague: bool = False
    """Whether a radius was so large that it says little."""
    broken: ToiseError | None = None
    worn: int = 0
    """What was spent on new processes, and on waiting."""
    known: Callable[[Recipe], bool] | None = None
    """Which recipes a known failure covers: they are not tried."""

    @property
    def accuracy(self) -> float:
        """The largest error in units of its radius."""
        return max(self.ratios.values(), default=0.0)

    def fails(self, recipe: Recipe) -> bool:
        """Try one recipe, at most once: whether the requirement is broken there."""
        fitted = self.backend.domain(self.operation).fit(recipe)
        if fitted in self.seen:
            return self.seen[fitted]
        if self.broken or self.worn >= WORN:
            return False
        if self.known and self.known(fitted):
            self.counts["known"] += 1
            return False
        self.counts["reshaped"] += fitted != recipe
        violation = self.attempt(fitted)
        self.seen[fitted] = violation is not None
        if violation is not None:
            self.failures[fitted] = violation
        return violation is not None

    def attempt(self, recipe: Recipe) -> Violation | None:
        """Run the property test on one recipe and count what it did."""
        example, counts = Example(), self.counts
        token = EXAMPLE.set(example)
        outcome = "relevant"
        violation = None
        try:
            self.prop.test(self.backend, self.backend.build(recipe))
            outcome = "relevant" if example.checked else "irrelevant"
        except Violation as broken:
            violation = broken
        except NotProvided as reason:
            outcome = "unsupported"
            self.reasons.setdefault(outcome, str(reason))
        except NotApplicable as reason:
            outcome = "inapplicable"
            self.reasons.setdefault(outcome, str(reason))
        except Irrelevant:
            outcome = "irrelevant"
        except ToiseError as error:
            self.broken = ToiseError(f"{self.prop.id} on {recipe}: {error}")
        except Exception as error:  # noqa: BLE001 - a slip in a property test must not pass for the backend's
            self.broken = ToiseError(f"{self.prop.id} on {recipe}: the property test raised {type(error).__name__}: {error}")
        finally:
            EXAMPLE.reset(token)
        if example.ended is not None and self.broken is None:
            # That the process died, or hung, is what there is to say, whatever the test made of it.
            violation, outcome = example.ended, "relevant"
            self.worn += WEAR.get(violation.kind, 0)
        counts["run"] += 1
        counts[outcome] += 1
        counts["checked"] += example.checked
        counts["excused"] += example.excused
        self.ratios[recipe] = example.ratio
        self.rounded |= bool(example.required)
        self.vague |= violation is None and any(each.vague() for each in example.required.values())
        if not recipe.aimed_at_overflow:
            defined, overflow = example.elements()
            counts["defined"] += defined
            counts["overflow"] += min(overflow, example.excused)  # what a law makes loud, and compares with nothing, is no loss
            if defined:
                compared = max(1, example.checked + example.excused)
                self.excused.append(min(overflow / defined, example.excused / compared))
        return violation

    def repeated(self, other: Backend, recipes: Iterable[Recipe]) -> Trial:
        """Try recipes on a backend that declares something else, until one fails."""
        again = Trial(self.prop, other, self.operation)
        any(again.fails(recipe) for recipe in recipes)
        if again.broken:
            raise again.broken
        return again

    @property
    def enough(self) -> int:
        """How many relevant examples a PASS rests on."""
        recipes = self.prop.inputs[self.operation]
        return min(ENOUGH, len(recipes.fixed)) if recipes.general is None else ENOUGH

    def doubt(self) -> str:
        """Say why too little was compared for a PASS; empty where it was enough."""
        counts, kind = self.counts, self.backend.declared(self.operation).class_of(self.backend.dtype)
        if counts["relevant"] < self.enough:
            return f"{counts['relevant']} relevant examples of {counts['run']}; required: {self.enough}"
        share = sum(self.excused) / max(1, len(self.excused))
        if share > EXCUSED:
            elements = f"{counts['overflow']} of {counts['defined']} elements, {share:.0%} of those of an input on average,"
            return f"{elements} are excused, as a correct computation in {kind} may overflow there; at most {EXCUSED:.0%} may be"
        return ""

    def literal_failures(self) -> list[Recipe]:
        """Return the failing recipes that name each number."""
        return [recipe for recipe in self.failures if recipe.content == "literal"]

    def explore(self, strategy: SearchStrategy[Recipe], examples: int, seed: int, *, shrink: bool = True) -> None:
        """Let Hypothesis draw recipes, and shrink one that fails."""
        shrinking = 0

        @hypothesis.seed(seed)
        @settings(
            max_examples=examples,
            database=None,
            deadline=None,
            derandomize=False,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
            verbosity=Verbosity.quiet,
            print_blob=False,
        )
        @given(strategy)
        def search(recipe: Recipe) -> None:
            nonlocal shrinking
            shrinking += shrinking > 0
            if self.broken or shrinking > SHRINKING or self.worn >= WORN:
                raise _Enough
            if self.fails(recipe):
                shrinking = max(shrinking, 1)
                raise _Found if shrink else _Enough

        with contextlib.suppress(_Found, _Enough):
            search()


class _Found(Exception):  # noqa: N818 - tells Hypothesis to shrink; the violation itself is kept by the trial
    pass


class _Enough(BaseException):
    """Stops Hypothesis at once: it lets through what is no Exception."""


def judge(
    prop: Property,
    backend: Backend,
    operation: str,
    *,
    budget: str = "standard",
    seed: int = 0,
    first: Iterable[Recipe] = (),
    known: Callable[[Recipe], bool] | None = None,
) -> Row:
    """Decide one requirement for one operation of one backend.

    `first` is tried before all else, and what a known failure covers is not tried.
    Raises ToiseError if the suite, the reference and the bounds do not agree with each other.
    """
    trial = Trial(prop, backend, operation, known=known)
    fixed_holds = _search(trial, budget, seed, shrink=True, first=first)
    if trial.failures and not trial.literal_failures():
        _search_literal(trial, budget, seed, fixed_holds=fixed_holds)
    if trial.broken:
        raise trial.broken
    return row_of(trial, budget=budget, seed=seed)


def replay(prop: Property, backend: Backend, operation: str, recipe: Recipe) -> Trial:
    """Try one recipe alone: nothing is searched, and nothing is shrunk."""
    trial = Trial(prop, backend, operation)
    if _can_be_asked(trial):
        backend.target.begin()
        trial.fails(recipe)
    return trial


def decide(prop: Property, backend: Backend, operation: str, *, budget: str = "standard", seed: int = 0) -> Trial:
    """Try a requirement as `judge` does, up to the first failure: the outcome is the same, and no smallest input is looked for.

    Raises ToiseError if the suite, the reference and the bounds do not agree with each other.
    """
    trial = Trial(prop, backend, operation)
    _search(trial, budget, seed, shrink=False)
    if trial.broken:
        raise trial.broken
    return trial


def _again(trial: Trial, budget: str, seed: int) -> str:
    """Return what to run to see the row again."""
    target, dtype = trial.backend.target, trial.backend.dtype
    required = trial.backend.declared(trial.operation).required
    if not target.named:
        chosen = "" if OPERATIONS[trial.operation].dtype else f"dtypes=[{dtype!r}], "
        chosen += f"require_class={required!r}, " if required else ""
        return f"toise.verify({target.name}, operations=[{trial.operation!r}], {chosen}budget={budget!r}, seed={seed})"
    here = target.arrays.local and target.arrays.device != "cpu"
    where = f" --device {shlex.quote(target.arrays.device)}" if here else ""
    chosen = "" if OPERATIONS[trial.operation].dtype else f" --dtype {dtype}"
    where += f" --require-class {required}" if required else ""
    what = f"-k {trial.prop.id} --operations {trial.operation}{chosen}{where}"
    name, rest = target.again or (shlex.quote(target.name), "")
    return " ".join(filter(None, ("toise check", name, what, f"--budget {budget} --seed {seed}", rest)))


def _can_be_asked(trial: Trial) -> bool:
    return trial.backend.provides(trial.operation) and trial.prop.id not in trial.backend.target.unseen


def _search(trial: Trial, budget: str, seed: int, *, shrink: bool, first: Iterable[Recipe] = ()) -> bool:
    """Try the fixed list, and explore if it holds; return whether it does."""
    if not _can_be_asked(trial):
        return True
    trial.backend.target.begin()
    recipes = trial.prop.inputs[trial.operation]
    if any(trial.fails(recipe) or trial.broken for recipe in (*first, *recipes.fixed)):
        return False
    # If nothing in the fixed list is provided here, the rest is more of the same.
    # A backend that lacks an option may leave too little of the fixed list.
    tried = trial.counts["relevant"] or trial.counts["irrelevant"]
    if tried and recipes.general is not None and (BUDGETS[budget] or trial.counts["relevant"] < trial.enough):
        trial.explore(recipes.general, _examples(budget), seed, shrink=shrink)
    return True


def _search_literal(trial: Trial, budget: str, seed: int, *, fixed_holds: bool) -> None:
    """Look for a failure on numbers that a person can check."""
    recipes = trial.prop.inputs[trial.operation]
    if recipes.tiny is not None:
        trial.explore(recipes.tiny, _examples(budget), seed)
    if not fixed_holds and not trial.literal_failures() and recipes.general is not None:
        trial.explore(recipes.general, _examples(budget), seed)


def _examples(budget: str) -> int:
    return BUDGETS[budget] or BUDGETS["standard"]


def row_of(trial: Trial, *, budget: str, seed: int) -> Row:
    """Return the row that a trial gives."""
    prop, backend, counts = trial.prop, trial.backend, trial.counts
    outcome, reason, counterexample = _outcome(trial, _again(trial, budget, seed))
    return Row(
        requirement=prop.id,
        level=prop.requirement.level,
        sentence=prop.requirement.sentence,
        test=prop.title,
        operation=trial.operation,
        dtype=backend.dtype,
        device=backend.arrays.device,
        precision=backend.declared(trial.operation).class_of(backend.dtype),
        strictest=_strictest(trial) if outcome == "PASS" else "",
        outcome=outcome,
        reason=reason,
        domain=str(backend.domain(trial.operation)) if backend.provides(trial.operation) else "",
        examples={name: counts[name] for name in EXAMPLES},
        elements={name: counts[name] for name in ELEMENTS},
        accuracy=trial.accuracy,
        counterexample=counterexample,
    )


def _outcome(trial: Trial, again: str) -> tuple[str, str, Counterexample | None]:
    counts, reasons = trial.counts, trial.reasons
    if trial.failures:
        recipe = min(trial.failures, key=lambda recipe: (recipe.weight(), str(recipe)))
        violation = trial.failures[recipe]
        trial.backend.forget_corruptions()
        outcome = broken_outcome(trial.prop, violation.kind)
        if violation.kind != "timeout" and Trial(trial.prop, trial.backend, trial.operation).attempt(recipe) is None:
            violation.kind = violation.kind if outcome in DEADLY.values() else "unrepeatable"
            violation.message += "; the same call passed when it was made again"
        shown = Counterexample.of(
            recipe, trial.backend, violation, hint=_hint(trial, violation), within=_within(trial), again=again
        )
        return outcome, KINDS[violation.kind], shown
    if not trial.backend.provides(trial.operation):
        return "NOT PROVIDED", trial.backend.lacks(trial.operation), None
    if unseen := trial.backend.target.unseen.get(trial.prop.id):
        return "NOT PROVIDED", f"over a pipe nobody sees {unseen}", None
    doubt = trial.doubt()
    if not doubt:
        unseen = trial.backend.target.seen_in_part.get(trial.prop.id)
        part = [f"over a pipe nobody sees {unseen}"] if unseen else []
        part += [reasons["unsupported"]] if counts["unsupported"] else []
        return "PASS", f"in part: {'; '.join(part)}" if part else "", None
    if counts["relevant"] < trial.enough:
        for lacking, outcome in (("unsupported", "NOT PROVIDED"), ("inapplicable", "NOT APPLICABLE")):
            if counts[lacking]:
                return outcome, reasons[lacking], None
    return "NOT RUN", doubt, None


def broken_outcome(prop: Property, kind: str) -> str:
    """Return what it is called when a requirement is broken in that way."""
    return DEADLY.get(kind, "WARN" if prop.requirement.level == "SHOULD" else "FAIL")


def _strictest(trial: Trial) -> str:
    """Return the strictest precision class in which the backend would have passed.

    The recipe with the largest error comes first: it refutes most classes that are too strict at once.
    """
    stricter, _ = trial.backend.classes(trial.operation)
    recipes = sorted(trial.seen, key=lambda recipe: -trial.ratios[recipe])
    if stricter and not trial.rounded:
        return stricter[0]
    for kind in stricter:
        again = trial.repeated(trial.backend.held_to(trial.operation, kind), recipes)
        if not again.failures and not again.doubt():
            return kind
    return trial.backend.declared(trial.operation).class_of(trial.backend.dtype)


def _hint(trial: Trial, violation: Violation) -> str:
    """Say which declaration would make the failure a choice, or what usually causes it; empty where nothing is known."""
    backend, operation = trial.backend, trial.operation
    widened = (violation.kind, violation.got, violation.required) == ("dtype", "float64", "float32")
    if widened and backend.arrays.name == "numpy":
        return (
            "NumPy promotes to float64 where an np.float64 scalar such as np.sqrt(64) takes part; use a Python float: 64 ** 0.5"
        )
    if violation.kind == "unrepeatable" or violation.kind in DEADLY:
        return ""  # that another declaration passed once more would be chance, and no declaration lets a process die
    for key, value, other in backend.other_choices(operation):
        if (value == "raises") != (violation.kind == "raised"):
            continue
        if _would_hold(trial, other):
            return f"it would hold if the backend declared {declaration(operation, key, value)}"
    for rank, other in backend.other_ranks(operation) if violation.kind in ("raised", "shape") else ():
        if _would_hold(trial, other):
            return f"it would hold if the backend declared {declaration(operation, 'domain', {'rank': [rank]})}"
    return ""


def _would_hold(trial: Trial, other: Backend) -> bool:
    """Tell whether a backend that declares something else passes: what fails may pass by chance, so the whole list is tried."""
    again = trial.repeated(other, (*trial.failures, *trial.prop.inputs[trial.operation].fixed))
    return not again.failures and again.counts["relevant"] > 0


def _within(trial: Trial) -> dict[str, bool]:
    """Return the traits, and then the looser classes, whose radius holds the errors, and whether it says much.

    A radius as large as the value would hold wrong formulas too.  Nothing is returned where a number is not finite.
    """
    backend, operation = trial.backend, trial.operation
    if not all(failure.ratio is not None and np.isfinite(failure.ratio) for failure in trial.failures.values()):
        return {}
    others = [*backend.other_traits(operation)]
    others += [(kind, backend.held_to(operation, kind)) for kind in backend.classes(operation)[1]]
    found = {}
    for name, other in others:
        again = trial.repeated(other, trial.failures)
        if again.counts["relevant"] and not again.failures:
            found[name] = not again.vague
    return found


def declaration(operation: str, key: str, value: object) -> str:
    """Return the text that declares something of an operation."""
    return f"__toise__ = {json.dumps({operation: {key: value}})}"


def outside_other_tests(run: Callable[[], T]) -> T:
    """Run it where Hypothesis sees no test around it: inside an `@given` that takes a thread of its own.

    Returns what it returns, and raises what it raises.
    """
    if not hypothesis.currently_in_test_context():
        return run()
    returned: list[T] = []
    raised: list[BaseException] = []

    def guarded() -> None:
        try:
            returned.append(run())
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits
            raised.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(guarded,), daemon=True)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return returned[0]
