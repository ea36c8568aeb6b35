"""Correct implementations, as kernels, compilers and textbooks organise them, and a campaign that looks for a false alarm.

`python -m soundness`, from the folder `benchmarks/`.  No organisation here may leave its radius in any precision class;
the tests use the same organisations.

machine.py     what a correct backend rounds, for a dtype and a class
sums.py        sums of products in many orders, and exponentials
<concept>.py   the organisations of a concept
with_jax.py    JAX, where it is installed
cases.py       inputs: the suite's, drawn ones, any bits
campaign.py    checks, and the table of the worst
climb.py       a search for the worst, step by step
tightness.py   how wide a radius is beside the errors of them all
"""
