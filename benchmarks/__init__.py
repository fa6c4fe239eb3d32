"""The figures we publish, each by one command that prints a table and writes JSON.

``python -m benchmarks`` runs all of them, ``python -m benchmarks.NAME`` one; ``--quick`` tries a
command with small settings and writes nothing. Results are in ``results/NAME.json``, and
``python -m benchmarks.tables`` writes them into ``README.md``.
"""
