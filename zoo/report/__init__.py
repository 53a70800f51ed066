"""The report: tables, figures, charts, sections, the page. The only room that draws."""
