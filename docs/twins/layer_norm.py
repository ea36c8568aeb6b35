"""LN · Right ways of writing layer_norm, as the faults of layer_norm are written."""

# ruff: noqa: RET504 - a result has a name here where faults go on to change it

import numpy as np

from twins import twin


@twin("layer_norm")
def two_lines(x, gamma, beta, *, eps=1e-5):
    """Mean and variance first, and then the formula."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@twin("layer_norm")
def one_line(x, gamma, beta, *, eps=1e-5):
    """The formula alone."""
    return gamma * (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + eps) + beta


@twin("layer_norm")
def centred_first(x, gamma, beta, *, eps=1e-5):
    """The centred row has a name."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return gamma * centred / np.sqrt(variance + eps) + beta


@twin("layer_norm")
def variance_written_out(x, gamma, beta, *, eps=1e-5):
    """The variance is the mean of the squared distances from the mean."""
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@twin("layer_norm")
def sums_divided(x, gamma, beta, *, eps=1e-5):
    """Mean and variance are sums, divided by the number of features."""
    d = x.shape[-1]
    mean = x.sum(axis=-1, keepdims=True) / d
    variance = ((x - mean) ** 2).sum(axis=-1, keepdims=True) / d
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@twin("layer_norm")
def normalised_first(x, gamma, beta, *, eps=1e-5):
    """The normalised row has a name."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    normalised = (x - mean) / np.sqrt(variance + eps)
    return gamma * normalised + beta


@twin("layer_norm")
def result_named(x, gamma, beta, *, eps=1e-5):
    """The result has a name."""
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    y = gamma * (x - mean) / np.sqrt(variance + eps) + beta
    return y


@twin("layer_norm")
def rows_in_one_axis(x, gamma, beta, *, eps=1e-5):
    """The leading axes are one, and come back at the end."""
    rows = x.reshape(-1, x.shape[-1])
    mean, variance = rows.mean(axis=-1, keepdims=True), rows.var(axis=-1, keepdims=True)
    return (gamma * (rows - mean) / np.sqrt(variance + eps) + beta).reshape(x.shape)


@twin("layer_norm")
def axis_named(x, gamma, beta, *, eps=1e-5):
    """The axis of the features has a name."""
    axis = -1
    mean, variance = x.mean(axis=axis, keepdims=True), x.var(axis=axis, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + eps) + beta


@twin("layer_norm")
def running_sums(x, gamma, beta, *, eps=1e-5):
    """Mean and sum of squares are updated feature by feature, as Welford has it."""
    mean, total = x[..., :1].copy(), np.zeros_like(x[..., :1])
    for at in range(1, x.shape[-1]):
        deviation = x[..., at : at + 1] - mean
        mean += deviation / (at + 1)
        total += deviation * (x[..., at : at + 1] - mean)
    return gamma * (x - mean) / np.sqrt(total / x.shape[-1] + eps) + beta


@twin("layer_norm")
def sum_divided(x, gamma, beta, *, eps=1e-5):
    """The mean is a sum, divided by the number of features, and the variance stands where it is used."""
    d = x.shape[-1]
    mean = x.sum(axis=-1, keepdims=True) / d
    return gamma * (x - mean) / np.sqrt(((x - mean) ** 2).mean(axis=-1, keepdims=True) + eps) + beta
