"""Correct attention and layer_norm, organised as kernels, compilers and textbooks organise them, in float32.

Each takes and returns float32 arrays and rounds every elementary operation to float32.  They differ in
what the specification leaves free: the order of sums, fused products, where the scale is applied, which
exponential is used, when the weights are normalised, blocks and their merging.  All of them conform, so
a radius that one of them leaves is too small.
"""

import functools
import math

import numpy as np

F32 = np.float32
ULP2 = 1 + 3 * 2.0**-24  # with the rounding to float32 after it: an error of at most 4 units, which is 2 ulp


def quietly(function):
    """Let overflow and 0/0 give infinity and NaN without a warning: the radius excuses them or does not."""

    @functools.wraps(function)
    def call(*args, **options):
        with np.errstate(all="ignore"):
            return function(*args, **options)

    return call


# --- Sums of products: [..., i, c] times [..., c, j] gives [..., i, j] ---------------------------------


def matmul(a, b):
    """Leave the order to BLAS."""
    return a @ b


def one_by_one(a, b, step=1):
    """Add the products one at a time, from the first to the last, or backwards."""
    total = np.zeros((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), F32)
    for c in range(a.shape[-1])[::step]:
        total = total + a[..., :, c, None] * b[..., None, c, :]
    return total


def backwards(a, b):
    """Add the products from the last to the first."""
    return one_by_one(a, b, step=-1)


def lanes(a, b, width=4):
    """Keep one sum for each of four lanes, as a vector unit does, and add the lanes at the end."""
    sums = [one_by_one(a[..., lane::width], b[..., lane::width, :]) for lane in range(min(width, a.shape[-1]))]
    return functools.reduce(np.add, sums)


def pairwise(a, b):
    """Add neighbours, then neighbours of those: a tree."""
    terms = a[..., :, :, None] * b[..., None, :, :]
    while terms.shape[-2] > 1:
        odd = terms[..., -1:, :] if terms.shape[-2] % 2 else None
        terms = terms[..., :-1:2, :] + terms[..., 1::2, :]
        terms = terms if odd is None else np.concatenate([terms, odd], axis=-2)
    return terms[..., 0, :]


def fused(a, b):
    """Multiply and add with one rounding for both."""
    return _exact_steps(a, b, lambda exact: exact.astype(F32))


def truncating(a, b):
    """Multiply and add exactly, and cut the sum towards zero, as a tensor core may: within ACCUMULATE32 alone."""
    return _exact_steps(a, b, _towards_zero)


def _exact_steps(a, b, cut):
    total = np.zeros((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), F32)
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    for c in range(a.shape[-1]):
        total = cut(total + wide_a[..., :, c, None] * wide_b[..., None, c, :])
    return total


def _towards_zero(exact):
    nearest = exact.astype(F32)
    return np.where(np.abs(nearest) > np.abs(exact), np.nextafter(nearest, F32(0)), nearest)


# --- Exponentials -----------------------------------------------------------------------------------


def exp2(x):
    """Base 2, with log2 e multiplied in, as GPUs have it."""
    return np.exp2(x * F32(math.log2(math.e)))


def exp_above(x):
    """Err by almost 2 ulp, always upwards, save for exp(0) = 1."""
    return np.where(x == 0, F32(1), (np.exp(x.astype(np.float64)) * ULP2).astype(F32))


def exp_either(x):
    """Err by almost 2 ulp, up or down as a bit of the argument says."""
    up = (x.view(np.int32) >> 3) & 1 == 1
    return np.where(x == 0, F32(1), (np.exp(x.astype(np.float64)) * np.where(up, ULP2, 2 - ULP2)).astype(F32))


# --- Attention --------------------------------------------------------------------------------------


def as_is(weights):
    """Leave the weights in float32; in bfloat16 a kernel may round them before they meet the values."""
    return weights


def scores(q, k, scale, allowed, *, scaled="product", product=one_by_one):
    """Scale the product, or q, or k, or q and k by the root; forbidden connections are -inf."""
    keys = k.swapaxes(-1, -2)
    root, sign = F32(math.sqrt(abs(scale))), F32(math.copysign(1, scale))
    s = {
        "product": lambda: product(q, keys) * F32(scale),
        "q": lambda: product(q * F32(scale), keys),
        "k": lambda: product(q, keys * F32(scale)),
        "root": lambda: product(q * (sign * root), keys * root),
    }[scaled]()
    return np.where(allowed, s, F32(-np.inf))


def greatest(s):
    """Return the greatest score of each row, 0 where no key is allowed."""
    top = s.max(axis=-1, keepdims=True)
    return np.where(np.isneginf(top), F32(0), top)


@quietly
def whole_rows(q, k, v, allowed, scale, *, scaled="product", product=one_by_one, exp=np.exp, normalise="late", rounded=as_is):
    """Hold whole rows of scores; divide the weights, or the result, or multiply by the reciprocal."""
    s = scores(q, k, scale, allowed, scaled=scaled, product=product)
    parts = exp(s - greatest(s))
    total = product(parts, np.ones((s.shape[-1], 1), F32))
    total = np.where(total > 0, total, F32(1))
    if normalise == "late":
        return product(rounded(parts), v) / total
    return product(rounded(parts / total if normalise == "early" else parts * (1 / total)), v)


@quietly
def online(q, k, v, allowed, scale, *, block=16, contracted=False, rounded=as_is):
    """Run through the keys in blocks, and rescale the sums where a greater score appears, as flash kernels do.

    Scale and log2 e are one factor.  contracted: exp2(fma(s, factor, -top factor)), the shift in one fused step.
    """
    factor = F32(abs(scale) * math.log2(math.e))
    s = scores(q * F32(math.copysign(1, scale)), k, 1.0, allowed)
    top = np.full((*s.shape[:-1], 1), -np.inf, F32)
    total, mixed = np.zeros_like(top), np.zeros((*s.shape[:-1], v.shape[-1]), F32)
    for start in range(0, s.shape[-1], block):
        at = slice(start, start + block)
        new = np.maximum(top, s[..., at].max(axis=-1, keepdims=True))
        shift = np.where(np.isneginf(new), F32(0), new)
        if contracted:
            power = (s[..., at].astype(np.float64) * factor - shift * factor).astype(F32)
        else:
            power = (s[..., at] - shift) * factor
        # With a factor of 0, -inf times 0 would be NaN: masked keys are selected away.
        parts = np.where(np.isneginf(s[..., at]), F32(0), np.exp2(power))
        kept = np.where(np.isneginf(top), F32(0), np.exp2((top - shift) * factor))
        total = total * kept + parts.sum(axis=-1, keepdims=True)
        mixed = mixed * kept + rounded(parts) @ v[..., at, :]
        top = new
    return mixed / np.where(total > 0, total, F32(1))


@quietly
def split_keys(q, k, v, allowed, scale, *, parts=3, exp=np.exp, rounded=as_is):
    """Give each part of the keys to another worker, and combine the results by their log-sum-exps."""
    results, sums = [], []
    s = scores(q, k, scale, allowed)
    for at in np.array_split(np.arange(s.shape[-1]), min(parts, s.shape[-1])):
        top = greatest(s[..., at])
        e = exp(s[..., at] - top)
        total = one_by_one(e, np.ones((len(at), 1), F32))
        results.append(rounded(e) @ v[..., at, :] / np.where(total > 0, total, F32(1)))
        sums.append(top + np.log(total))  # -inf for a part without any allowed key
    sums = np.stack(sums)
    weights = exp(sums - np.where(np.isneginf(sums.max(axis=0)), F32(0), sums.max(axis=0)))
    total = weights.sum(axis=0)
    return (weights * np.stack(results)).sum(axis=0) / np.where(total > 0, total, F32(1))


ATTENTION = {
    "products added one by one": whole_rows,
    "products added backwards": functools.partial(whole_rows, product=backwards),
    "products added in pairs": functools.partial(whole_rows, product=pairwise),
    "products added in four lanes": functools.partial(whole_rows, product=lanes),
    "products added by BLAS": functools.partial(whole_rows, product=matmul),
    "fused multiply-add": functools.partial(whole_rows, product=fused),
    "q scaled first": functools.partial(whole_rows, scaled="q"),
    "k scaled first": functools.partial(whole_rows, scaled="k"),
    "the root of the scale on q and k": functools.partial(whole_rows, scaled="root"),
    "weights normalised early": functools.partial(whole_rows, normalise="early"),
    "weights times a reciprocal": functools.partial(whole_rows, normalise="reciprocal"),
    "base 2": functools.partial(whole_rows, exp=exp2),
    "an exponential 2 ulp too large": functools.partial(whole_rows, exp=exp_above),
    "an exponential of 2 ulp, roots, backwards": functools.partial(whole_rows, exp=exp_either, scaled="root", product=backwards),
    "online softmax in blocks of 16": online,
    "online softmax, contracted": functools.partial(online, contracted=True),
    "split keys": split_keys,
    "split keys, an exponential of 2 ulp": functools.partial(split_keys, exp=exp_either),
}


# --- Layer normalisation ----------------------------------------------------------------------------


def total_of(x, product=one_by_one):
    """Add up each row."""
    return product(x[..., None, :], np.ones((x.shape[-1], 1), F32))[..., 0]


def two_passes(x, product=one_by_one):
    """Take the mean, then the mean of the squared distances from it."""
    n = F32(x.shape[-1])
    mean = total_of(x, product) / n
    return mean, total_of((x - mean) ** 2, product) / n


def reciprocal_count(x):
    """Multiply by 1/n instead of dividing by n."""
    over = F32(1) / F32(x.shape[-1])
    mean = total_of(x) * over
    return mean, total_of((x - mean) ** 2) * over


def updated(x, step=1):
    """Update mean and sum of squares with each element (Welford)."""
    mean = squares = np.zeros_like(x[..., :1])
    for count, at in enumerate(range(x.shape[-1])[::step], start=1):
        element = x[..., at, None]
        distance = element - mean
        mean = mean + distance / F32(count)
        squares = squares + distance * (element - mean)
    return mean, squares / F32(x.shape[-1])


def merged(x):
    """Merge the statistics of neighbours, then of neighbours of those (Chan, Golub & LeVeque)."""
    mean, squares, count = x, np.zeros_like(x), np.ones(x.shape[-1], F32)
    while mean.shape[-1] > 1:
        even = mean.shape[-1] // 2 * 2
        left, right = slice(0, even, 2), slice(1, even, 2)
        both = count[left] + count[right]
        distance = mean[..., right] - mean[..., left]
        new_mean = mean[..., left] + distance * (count[right] / both)
        new_squares = squares[..., left] + squares[..., right] + distance * distance * (count[left] * count[right] / both)
        mean = np.concatenate([new_mean, mean[..., even:]], axis=-1)
        squares = np.concatenate([new_squares, squares[..., even:]], axis=-1)
        count = np.concatenate([both, count[even:]])
    return mean, squares / F32(x.shape[-1])


def reciprocal_root(z):
    """Round the root, then the quotient."""
    return F32(1) / np.sqrt(z)


def reciprocal_root_above(z):
    """Err by almost 2 ulp upwards."""
    return (z.astype(np.float64) ** -0.5 * ULP2).astype(F32)


def reciprocal_root_below(z):
    """Err by almost 2 ulp downwards."""
    return (z.astype(np.float64) ** -0.5 * (2 - ULP2)).astype(F32)


@quietly
def normalised_rows(x, gamma, beta, eps, *, statistics=two_passes, affine="plain", root=reciprocal_root):
    """Normalise each row; the affine map comes after it, or is folded in, or the mean is multiplied apart."""
    mean, variance = statistics(x)
    r = root(variance + F32(eps))
    if affine == "plain":
        return (x - mean) * r * gamma + beta
    if affine == "divided":
        return (x - mean) / np.sqrt(variance + F32(eps)) * gamma + beta
    if affine == "gamma first":
        return (x - mean) * (gamma * r) + beta
    if affine == "apart":
        return (x * r - mean * r) * gamma + beta
    slope = gamma * r
    if affine == "folded":
        return x * slope + (beta - mean * slope)
    offset = (beta - mean.astype(np.float64) * slope).astype(F32)
    return (x.astype(np.float64) * slope + offset).astype(F32)


LAYER_NORM = {
    "two passes": normalised_rows,
    "two passes backwards": functools.partial(normalised_rows, statistics=functools.partial(two_passes, product=backwards)),
    "two passes in pairs": functools.partial(normalised_rows, statistics=functools.partial(two_passes, product=pairwise)),
    "two passes, fused": functools.partial(normalised_rows, statistics=functools.partial(two_passes, product=fused)),
    "times 1/n": functools.partial(normalised_rows, statistics=reciprocal_count),
    "Welford": functools.partial(normalised_rows, statistics=updated),
    "Welford backwards": functools.partial(normalised_rows, statistics=functools.partial(updated, step=-1)),
    "Chan": functools.partial(normalised_rows, statistics=merged),
    "divided by the root": functools.partial(normalised_rows, affine="divided"),
    "gamma times the root first": functools.partial(normalised_rows, affine="gamma first"),
    "x r - m r": functools.partial(normalised_rows, affine="apart"),
    "folded": functools.partial(normalised_rows, affine="folded"),
    "folded, fused multiply-add": functools.partial(normalised_rows, affine="fused"),
    "a root 2 ulp too large": functools.partial(normalised_rows, root=reciprocal_root_above),
    "a root 2 ulp too small, folded, Chan": functools.partial(
        normalised_rows, root=reciprocal_root_below, affine="folded", statistics=merged
    ),
    "a root 2 ulp too large, apart, Welford": functools.partial(
        normalised_rows, root=reciprocal_root_above, affine="apart", statistics=updated
    ),
}
