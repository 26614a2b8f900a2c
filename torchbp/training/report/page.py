"""The HTML frame of a run's report. Its style: report.css, after the rules that all pages share."""

from pathlib import Path

from torchbp.web import shared_style


def report_style():
    return shared_style() + (Path(__file__).parent / "report.css").read_text(encoding="utf-8")


def report_page(title, summary, sections):
    """The whole HTML file. All three are finished HTML."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{report_style()}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{summary}
{sections}
</main>
</body>
</html>
"""
