"""MLM · Right ways of writing mlm_corrupt and mlm_loss, as the faults of masked_language_model are written."""

import numpy as np
from toise.faults.masked_language_model import corrupt, log_softmax, losses, of_label, ordinary, replaced

from twins import twin


@twin("mlm_corrupt")
def handed_on(tokens, **given):
    """All is left to the helper."""
    return corrupt(tokens, **given)


@twin("mlm_corrupt")
def result_named(tokens, **given):
    """The two results have names."""
    corrupted, selected = corrupt(tokens, **given)
    return corrupted, selected


@twin("mlm_corrupt")
def rate_named(tokens, *, rate=0.15, **given):
    """The rate has a name."""
    return corrupt(tokens, rate=rate, **given)


@twin("mlm_corrupt")
def seed_named(tokens, *, seed, **given):
    """The seed has a name."""
    return corrupt(tokens, seed=seed, **given)


@twin("mlm_corrupt")
def special_ids_named(tokens, *, special_ids, **given):
    """The special ids have a name."""
    return corrupt(tokens, special_ids=special_ids, **given)


@twin("mlm_corrupt")
def mask_id_named(tokens, *, mask_id, special_ids, **given):
    """The id of the mask has a name, and so have the special ids."""
    return corrupt(tokens, mask_id=mask_id, special_ids=special_ids, **given)


@twin("mlm_corrupt")
def size_named(tokens, *, vocab_size, **given):
    """The size of the vocabulary has a name."""
    return corrupt(tokens, vocab_size=vocab_size, **given)


@twin("mlm_corrupt")
def vocabulary_named(tokens, *, mask_id, vocab_size, **given):
    """The id of the mask has a name, and so has the size of the vocabulary."""
    return corrupt(tokens, mask_id=mask_id, vocab_size=vocab_size, **given)


@twin("mlm_corrupt")
def selected_named(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """The selection has a name."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    return replaced(draw, tokens, selected, mask_id, vocab_size)


@twin("mlm_corrupt")
def words_named(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """What may be selected has a name."""
    draw = np.random.default_rng(seed)
    words = ordinary(tokens, special_ids)
    return replaced(draw, tokens, words & (draw.random(tokens.shape) < rate), mask_id, vocab_size)


@twin("mlm_corrupt")
def words_beside_the_generator(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """What may be selected has a name, and so has the selection."""
    draw, words = np.random.default_rng(seed), ordinary(tokens, special_ids)
    selected = words & (draw.random(tokens.shape) < rate)
    return replaced(draw, tokens, selected, mask_id, vocab_size)


@twin("mlm_corrupt")
def words_in_the_last_line(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """What may be selected has a name, and what is selected has none."""
    draw, words = np.random.default_rng(seed), ordinary(tokens, special_ids)
    return replaced(draw, tokens, words & (draw.random(tokens.shape) < rate), mask_id, vocab_size)


@twin("mlm_corrupt")
def numbers_named(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """The numbers that select have a name."""
    draw = np.random.default_rng(seed)
    u = draw.random(tokens.shape)
    return replaced(draw, tokens, ordinary(tokens, special_ids) & (u < rate), mask_id, vocab_size)


@twin("mlm_corrupt")
def numbers_of_words(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """The numbers that select are out of reach for what is special."""
    draw, words = np.random.default_rng(seed), ordinary(tokens, special_ids)
    u = np.where(words, draw.random(tokens.shape), 2.0)
    selected = words & (u < rate)
    return replaced(draw, tokens, selected, mask_id, vocab_size)


@twin("mlm_corrupt")
def action_given(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """The numbers that decide what becomes of a token are drawn in the last line."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    return replaced(draw, tokens, selected, mask_id, vocab_size, action=draw.random(tokens.shape))


@twin("mlm_corrupt")
def action_named(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """The numbers that decide what becomes of a token have a name."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    action = draw.random(tokens.shape)
    return replaced(draw, tokens, selected, mask_id, vocab_size, action=action)


@twin("mlm_corrupt")
def drawn_named(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """The random tokens have a name."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    drawn = draw.integers(vocab_size, size=tokens.shape)
    return replaced(draw, tokens, selected, mask_id, vocab_size, drawn=drawn)


@twin("mlm_corrupt")
def written_out(tokens, *, mask_id, vocab_size, special_ids, rate=0.15, seed):
    """What becomes of a token is written out."""
    draw = np.random.default_rng(seed)
    selected = ordinary(tokens, special_ids) & (draw.random(tokens.shape) < rate)
    p = draw.random(tokens.shape)
    drawn = draw.integers(vocab_size, size=tokens.shape)
    changed = np.where(p < 0.8, mask_id, np.where(p < 0.9, drawn, tokens))
    return np.where(selected, changed, tokens), selected


@twin("mlm_loss")
def one_line(logits, labels, selected):
    """The formula alone."""
    return losses(logits, labels)[selected].mean()


@twin("mlm_loss")
def found_named(logits, labels, selected):
    """The losses that count have a name."""
    found = losses(logits, labels)[selected]
    return found.mean()


@twin("mlm_loss")
def sum_divided(logits, labels, selected):
    """The mean is a sum, divided by a number."""
    return losses(logits, labels)[selected].sum() / logits.dtype.type(selected.sum())


@twin("mlm_loss")
def count_named(logits, labels, selected):
    """The mean is a sum, divided by a number that has a name."""
    count = int(selected.sum())
    return losses(logits, labels)[selected].sum() / logits.dtype.type(count)


@twin("mlm_loss")
def places_named(logits, labels, selected):
    """The selected positions are counted in one axis."""
    places = np.flatnonzero(selected)
    return losses(logits, labels).ravel()[places].mean()


@twin("mlm_loss")
def logarithm_inside(logits, labels, selected):
    """The logarithm of the softmax is taken in one go."""
    return -of_label(log_softmax(logits), labels)[selected].mean()


@twin("mlm_loss")
def normaliser_written_out(logits, labels, selected):
    """The greatest logit is taken off, and the normaliser is written out."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return (np.log(np.exp(shifted).sum(axis=-1)) - of_label(shifted, labels))[selected].mean()
