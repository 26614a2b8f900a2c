"""The frame of a run's report: its style sheet, light and dark, for a screen and for paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --text: #1c1f23; --muted: #596068; --line: #d9dde2; --back: #f6f7f8; --card: #ffffff;
}
@media screen and (prefers-color-scheme: dark) {
  :root { --text: #e3e6ea; --muted: #a3abb4; --line: #363c44; --back: #101317; --card: #171b20; }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 1320px; padding: 1.5rem clamp(.75rem, 2.5vw, 2rem) 3rem; overflow-wrap: anywhere;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  color: var(--text); background: var(--back);
}
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.25rem 0 .75rem; }
h3 { font-size: 1rem; margin: 0 0 .5rem; }
p { margin: 0; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22.5rem), 1fr)); gap: 1rem; }
.grid > * { min-width: 0; }
.grid > p, .grid > pre, .grid > dl, .all { grid-column: 1 / -1; }
figure, .card, dl, pre {
  margin: 0; padding: .9rem; border: 1px solid var(--line); border-radius: 8px; background: var(--card);
}
figcaption, .card > p { margin-top: .6rem; font-size: .875rem; color: var(--muted); }
.wide { align-self: start; }
@media (min-width: 52rem) { .wide { grid-column: span 2; } }
.plot { display: block; width: 100%; height: auto; font-family: inherit; }
.plot * { stroke-linejoin: round; stroke-linecap: butt; }
.legend {
  display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin: .4rem 0 0; padding: 0; list-style: none;
  font-size: .875rem; font-variant-numeric: tabular-nums;
}
.legend li { display: flex; align-items: baseline; gap: .4rem; }
.swatch { flex: none; width: 30px; height: 10px; fill: none; stroke-width: 2.5; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); gap: .7rem 1.5rem; }
dt { font-size: .8rem; color: var(--muted); }
dd { margin: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
caption { text-align: left; overflow-wrap: anywhere; padding-bottom: .4rem; color: var(--muted); }
th, td { padding: .3rem .6rem; border: 1px solid var(--line); text-align: right; print-color-adjust: exact; }
th { font-weight: 600; }
th[scope="row"] { text-align: left; }
thead td { border: 0; }
thead th[scope="colgroup"] { text-align: center; font-weight: 400; color: var(--muted); }
.hardest :is(th, td):nth-child(-n+4), .pairs :is(th, td):nth-child(-n+2) { text-align: left; }
.labels { display: flex; flex-wrap: wrap; gap: 1rem; }
.labels > * { min-width: 0; max-width: 100%; }
pre { overflow-x: auto; font: .8125rem/1.5 ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace; }
:focus-visible { outline: 2px solid #1f7fc4; outline-offset: 2px; }
@media print {
  :root { font-size: 9pt; }
  body { max-width: none; padding: 0; background: none; }
  .grid { grid-template-columns: repeat(2, 1fr); }
  .wide { grid-column: 1 / -1; }
  figure, .card, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .scroll, pre { overflow: visible; }
  pre { white-space: pre-wrap; }
}
"""


def page(title, summary, sections):
    """The whole HTML file. All three are finished HTML."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{STYLE}</style>
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
