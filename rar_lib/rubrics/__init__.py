"""A task gets its rubric, and the rubric is measured."""
