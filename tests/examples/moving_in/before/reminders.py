"""Reminders and karma on an SQLite file of the plugin's own."""

import sqlite3
import time


class Reminders:
    def __init__(self, path="reminders.db"):
        self.db = sqlite3.connect(path)
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS karma (user TEXT PRIMARY KEY, points INTEGER NOT NULL DEFAULT 0)"
        )
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS reminders (id INTEGER PRIMARY KEY AUTOINCREMENT,"
            " user TEXT NOT NULL REFERENCES karma (user), text TEXT NOT NULL, due INTEGER NOT NULL)"
        )

    def give(self, user):
        self.db.execute(
            "INSERT INTO karma (user, points) VALUES (?, 1)"
            " ON CONFLICT (user) DO UPDATE SET points = points + 1",
            (user,),
        )
        self.db.commit()

    def remind(self, user, text, seconds):
        cursor = self.db.execute(
            "INSERT INTO reminders (user, text, due) VALUES (?, ?, ?)",
            (user, text, int(time.time()) + seconds),
        )
        self.db.commit()
        return cursor.lastrowid

    def find(self, word):
        return self.db.execute(
            "SELECT id, text FROM reminders WHERE text LIKE ? ORDER BY due", (f"%{word}%",)
        ).fetchall()

    def busiest(self):
        return self.db.execute(
            "SELECT k.user, k.points, count(*) FROM karma k JOIN reminders r ON r.user = k.user"
            " GROUP BY k.user, k.points ORDER BY count(*) DESC, k.user LIMIT 3"
        ).fetchall()
