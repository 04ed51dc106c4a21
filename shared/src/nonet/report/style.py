"""The look of a page: one set of colours for light, one for dark, one for paper; plots use the same ones."""

STYLE = """
:root { color-scheme: light dark;
  --paper: #ffffff; --ink: #1d232b; --faint: #67717e; --grid: #e6e9ed; --band: #f5f7f9; --link: #0a5fb4;
  --series-1: #1f6fb4; --series-2: #d1570b; --series-3: #0f8f68; --series-4: #b5498e;
  --series-5: #8a6a00; --series-6: #2f9fc9; --series-7: #6a51b8; --series-8: #b83a3a; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14181d; --ink: #e4e8ed; --faint: #98a3b0; --grid: #2a3139; --band: #1b2128; --link: #7fb8f2;
  --series-1: #63aef0; --series-2: #ff9a52; --series-3: #47cfa0; --series-4: #eb93c6;
  --series-5: #e3bf4a; --series-6: #86d3f2; --series-7: #b3a1f5; --series-8: #f58b8b; } }
@media print { :root { color-scheme: light;
  --paper: #ffffff; --ink: #000000; --faint: #444444; --grid: #dddddd; --band: #f4f4f4; --link: #000000;
  --series-1: #1f6fb4; --series-2: #d1570b; --series-3: #0f8f68; --series-4: #b5498e;
  --series-5: #8a6a00; --series-6: #2f9fc9; --series-7: #6a51b8; --series-8: #b83a3a; }
  main { max-width: none; padding: 0; }
  figure, tr { break-inside: avoid; }
  svg { min-width: 0 !important; }
  h2, h3, figcaption { break-after: avoid; }
  thead { display: table-header-group; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 52rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
header { border-bottom: 1px solid var(--grid); margin-bottom: 1.75rem; padding-bottom: 1rem; }
h1 { font-size: 1.85rem; line-height: 1.2; margin: 0; letter-spacing: -0.01em; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 0.75rem; } h3 { font-size: 1.05rem; margin: 1.75rem 0 0.5rem; }
header p { color: var(--faint); margin: 0.4rem 0 0; }
p, ul { margin: 0.75rem 0; } ul { padding-left: 1.4rem; } a { color: var(--link); }
code, pre { font: 0.88em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  background: var(--band); border-radius: 4px; }
code { padding: 0.1em 0.3em; overflow-wrap: anywhere; }
pre { padding: 0.8rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere; }
pre code { padding: 0; }
figure { margin: 1.75rem 0; } figcaption { font-weight: 600; margin-bottom: 0.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.93rem; }
th, td { padding: 0.4rem 0.75rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--grid); }
th { color: var(--faint); font-weight: 600; border-bottom: 1.5px solid var(--faint); }
td + td { overflow-wrap: anywhere; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tbody tr:hover { background: var(--band); }
svg { display: block; width: 100%; min-width: 34rem; height: auto; }
svg text { font-family: inherit !important; fill: var(--ink); }
"""
