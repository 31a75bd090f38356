"""The mutants are data: plugins and suites that the tests here run in projects of their own."""

collect_ignore = ["mutants"]
