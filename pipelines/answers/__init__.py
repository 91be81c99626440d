"""Answers for programs that ask: small, typed, with units, times and evidence.

One module a question. Every answer is a pure read of the store at the run's clock (``diagnosed``
and ``simulated`` compute, with the code of the verbs), says what it rests on and until when it may
be used, and is marked stale once it may not. Text that came from a cluster is in a field named
``data``: see ``shared.Data``.
"""
