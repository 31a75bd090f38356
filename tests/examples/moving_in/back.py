"""Bring the rows of an export into a copy of the old file."""

import json
import shutil
import sqlite3
import sys

export, old, copy = sys.argv[1:]
shutil.copyfile(old, copy)
with open(export, encoding="utf-8") as lines, sqlite3.connect(copy) as db:
    for line in map(json.loads, lines):
        if line["is"] == "table":
            table, columns = line["name"], ", ".join(line["columns"])
            values = ", ".join("?" * len(line["columns"]))
            db.execute(f"DELETE FROM {table}")
        elif line["is"] == "row":
            db.execute(f"INSERT INTO {table} ({columns}) VALUES ({values})", line["values"])
