"""A task gets its rubric, which is measured."""
