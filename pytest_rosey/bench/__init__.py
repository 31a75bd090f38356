"""`rosey bench`: the storage service and plugins on it, against the floors and against before.

Read in this order: `contestants` (who takes part), `timing` (how they take turns), `scenarios`
(what they do), `figures` (what is kept), `targets` (what it is held against; what is claimed of a
plugin stands in its own benchmark); then `table`, `html_report` and `markdown_report`, which show
it, and `guard`, which watches the ratios.
"""
