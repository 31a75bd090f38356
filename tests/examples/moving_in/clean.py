"""Copy the old file, and mend in the copy what the notes of rosey scaffold named."""

import shutil
import sqlite3
import sys

old, cleaned = sys.argv[1:]
shutil.copyfile(old, cleaned)
with sqlite3.connect(cleaned) as db:
    db.execute("DELETE FROM reminders WHERE typeof(due) = 'text'")
    db.execute(
        "INSERT INTO karma (user) SELECT DISTINCT user FROM reminders WHERE true"
        " ON CONFLICT DO NOTHING"
    )
