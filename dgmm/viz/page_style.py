"""How a report page looks: on a phone, on a desk, on paper."""

FONTS = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif'
"""What the machine of the reader has."""

STYLE = (
    """
:root { --ink: #1b2733; --grey: #4a5763; --line: #d7dde3; --faint: #f5f7f9; --mark: #0b5c8f; --bad: #a33a00; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0; background: #fff; color: var(--ink); font: 1rem/1.55 FONTS; overflow-wrap: break-word; }
main, header, footer { max-width: 70rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2.75rem; }
footer { padding-top: 1.5rem; padding-bottom: 3rem; color: var(--grey); font-size: .875rem; }
h1 { font-size: clamp(1.6rem, 1.2rem + 1.9vw, 2.4rem); line-height: 1.18; letter-spacing: -.015em; font-weight: 680;
  margin: .25rem 0 .75rem; text-wrap: balance; }
h2 { font-size: 1.3rem; line-height: 1.3; letter-spacing: -.008em; font-weight: 650; margin: 0 0 .4rem; }
h3 { font-size: 1rem; line-height: 1.4; font-weight: 650; margin: 0; }
p { margin: 0 0 .75rem; max-width: 46rem; }
.kicker { margin: 0; color: var(--grey); font-size: .9rem; }
.lead { font-size: 1.125rem; color: var(--ink); }
.intro { color: var(--grey); }
section { margin-top: 2.75rem; padding-top: 1.5rem; border-top: 1px solid var(--line); }

.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(10.5rem, 45%), 1fr)); gap: 1.1rem 1.5rem;
  margin: 1.75rem 0 0; }
.facts div { min-width: 0; }
.facts dt { color: var(--grey); font-size: .85rem; line-height: 1.35; }
.facts dd { margin: .1rem 0 0; font-size: 1.2rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.facts small { display: block; color: var(--grey); font-size: .8rem; }

.findings { list-style: none; margin: .9rem 0 0; padding: 0; display: grid; gap: .9rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
.findings li { border: 1px solid var(--line); border-left: .3rem solid var(--mark); border-radius: .25rem;
  padding: .8rem 1rem; background: #fff; }
.findings li.problem { border-left-color: var(--bad); }
.findings .level { display: block; font-size: .8rem; font-weight: 650; color: var(--mark); }
.findings .problem .level { color: var(--bad); }
.findings p { margin: .3rem 0 0; font-size: .95rem; }
.findings .advice { color: var(--grey); }
.good { border-left: .3rem solid #00724f; padding: .1rem 0 .1rem .9rem; }

.scroll { overflow-x: auto; margin: 0 0 1.25rem; }
.scroll:focus-visible { outline: 2px solid var(--mark); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; min-width: 18rem; }
.caption { color: var(--grey); font-size: .875rem; margin: 1.1rem 0 .1rem; }
th, td { padding: .4rem .9rem .4rem 0; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line);
  line-height: 1.35; }
th:last-child, td:last-child { padding-right: .25rem; }
thead th { color: var(--grey); font-weight: 600; vertical-align: bottom; min-width: 4.5rem; max-width: 11rem;
  overflow-wrap: anywhere; }
tbody th { font-weight: 600; white-space: nowrap; }
th:first-child, td.text, th.text { text-align: left; }
thead th:first-child { overflow-wrap: normal; }
tbody th:first-child { position: sticky; left: 0; background: #fff; padding-right: 1rem; }
td small { display: block; color: var(--grey); font-size: .9em; white-space: nowrap; }
td { white-space: nowrap; }
td.text { white-space: normal; min-width: 12rem; }
tr.all th, tr.all td { border-top: 2px solid var(--line); }
.dot { display: inline-block; width: .8rem; height: .8rem; border-radius: 50%; margin-right: .45rem;
  vertical-align: -.06rem; print-color-adjust: exact; -webkit-print-color-adjust: exact; }

.figures { display: grid; gap: 1.25rem 1.75rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr));
  margin-top: .9rem; }
.figures.small { grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 1rem; }
.figures.single { grid-template-columns: minmax(0, 34rem); }
figure { margin: 0; min-width: 0; }
figure.wide { max-width: 40rem; margin-top: .9rem; }
figure img { display: block; width: 100%; height: auto; }
figcaption { color: var(--grey); font-size: .875rem; line-height: 1.45; margin-top: .35rem; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: 0; margin: .75rem 0 0;
  font-size: .9rem; font-variant-numeric: tabular-nums; }

.bars { margin: .9rem 0 0; max-width: 46rem; font-variant-numeric: tabular-nums; font-size: .95rem; }
.bars div { display: grid; grid-template-columns: 17rem 1fr 5.5rem; gap: .15rem 1rem; align-items: center;
  margin-bottom: .5rem; }
.bars dd { margin: 0; text-align: right; }
.bars .length { background: var(--faint); height: .85rem; border-radius: .15rem; overflow: hidden; }
.bars .length span { display: block; height: 100%; background: #0072b2; min-width: 1px;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.made { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.25rem; margin: .9rem 0 0;
  font-size: .92rem; }
.made dt { color: var(--grey); }
.made dd { margin: 0; overflow-wrap: anywhere; }

@media (max-width: 40rem) {
  main, header, footer { padding-left: 1rem; padding-right: 1rem; }
  header { padding-top: 1.5rem; }
  section { margin-top: 2rem; padding-top: 1.25rem; }
  .figures.small { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .75rem; }
  .bars div { grid-template-columns: 1fr max-content; }
  .bars .length { grid-column: 1 / -1; grid-row: 2; }
  .made { grid-template-columns: minmax(0, 11rem) 1fr; gap: .2rem .75rem; }
  .made dt { overflow-wrap: anywhere; }
}

@media print {
  @page { margin: 16mm 14mm; }
  :root { --ink: #000; --grey: #333; }
  body { font-size: 9.5pt; line-height: 1.4; }
  main, header, footer { max-width: none; padding: 0; }
  header { padding-top: 0; }
  section { margin-top: 6mm; padding-top: 4mm; }
  h2, h3, .intro, .caption { break-after: avoid; break-inside: avoid; }
  figure, .findings li, .facts div, tr, .bars div, .legend { break-inside: avoid; }
  thead { display: table-header-group; }
  .scroll { overflow: visible; }
  table { font-size: 7.6pt; }
  th, td { padding-right: 2mm; }
  thead th { min-width: 0; }
  tbody th:first-child { position: static; }
  td.text { min-width: 0; }
  .figures { grid-template-columns: repeat(2, 1fr); }
  .figures.small { grid-template-columns: repeat(4, 1fr); }
  .findings { grid-template-columns: 1fr; }
  figure.wide { max-width: 150mm; }
}
"""
).replace("FONTS", FONTS)
"""The page's style sheet."""
