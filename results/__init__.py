"""What was measured, each record beside the script that makes it; see README.md."""
