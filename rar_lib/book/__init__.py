"""The chapters: run through papermill, checked, and published as pages."""
