"""The pages of the book: what each says of records or of runs, what may stand there.

:mod:`rar_lib.book.build` puts them together.
"""
