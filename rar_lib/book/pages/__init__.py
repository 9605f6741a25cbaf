"""The pages of the book: how they are built, what each says, what may stand there."""
