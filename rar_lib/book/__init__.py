"""The chapters: run through papermill, checked, published as pages."""
