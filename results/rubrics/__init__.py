"""Rubrics that a model wrote for RaR-Mini."""
