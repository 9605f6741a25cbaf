"""The pages of the book: what each of them says of records and of runs, and what may stand there.

:mod:`rar_lib.book.build` puts them together.
"""
