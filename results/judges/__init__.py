"""This judge beside other graders: one server, one model, the same responses."""
