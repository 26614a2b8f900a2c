"""Defects after reports, each written from the facts of the report before the auditor was tried on it."""
