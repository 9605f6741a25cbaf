"""A response becomes a grade: what a judge is asked, how its reply is read, what it costs."""
