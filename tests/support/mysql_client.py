"""A client of MySQL and MariaDB: every kind of conversation, or a connection that stays open. Says what it was refused by, one
number a line.

mysql_client.py all PORT: by PyMySQL in text, and by Connector/Python in text and prepared.
mysql_client.py held PORT FOLDER: prepares a statement and writes FOLDER/prepared; once FOLDER/go is there executes it 20 times,
asks 10 times in text, then what is no statement, then 10 times more.
mysql_client.py phases PORT FOLDER: two connections of PyMySQL and five of Connector/Python, on tables that have the phase for a name.
"""
import sys
import tempfile
import time
from pathlib import Path

import mysql.connector
import pymysql

from phases import Phases, run

PLACE = {"host": "127.0.0.1", "user": "app", "password": "secret", "database": "bench", "autocommit": True}


def refused(number, act):
    try:
        act()
    except (pymysql.Error, mysql.connector.Error) as error:
        assert error.args[0] == number, error
        print(number)
        return
    raise AssertionError("it is refused")


def in_text(port):
    client = pymysql.connect(port=port, local_infile=True, **PLACE)
    with client.cursor() as cursor:
        cursor.execute("CREATE TABLE items (id INT PRIMARY KEY, name LONGTEXT)")
        for n in range(100):
            cursor.execute("INSERT INTO items VALUES (%s, %s)", (n, "n" * n))
        cursor.executemany("INSERT INTO items VALUES (%s, %s)", [(n, "many") for n in range(100, 1100)])
        with tempfile.NamedTemporaryFile("w") as file:
            file.writelines(f"{n}\tfrom a file\n" for n in range(2000, 4000))
            file.flush()
            assert cursor.execute(f"LOAD DATA LOCAL INFILE '{file.name}' INTO TABLE items") == 2000
        for n in range(200):
            cursor.execute("SELECT name FROM items WHERE id = %s", (n,))
            assert cursor.fetchone()
        cursor.execute("INSERT INTO items VALUES (%s, %s)", (5000, "x" * 1_000_000))
        cursor.execute("SELECT id, name FROM items")
        assert len(cursor.fetchall()) == 3101
        refused(1062, lambda: cursor.execute("INSERT INTO items VALUES (1, 'again')"))
        refused(1146, lambda: cursor.execute("SELECT id FROM nowhere"))
        refused(1064, lambda: cursor.execute("SELEC 1"))
        client.begin()
        cursor.execute("UPDATE items SET name = 'new' WHERE id < 50")
        client.rollback()
        cursor.execute("CREATE PROCEDURE twice() BEGIN SELECT id FROM items WHERE id < 3; SELECT 1; END")
        cursor.execute("DROP PROCEDURE twice")
    client.ping()
    client.select_db("bench")
    client.close()


def prepared(port):
    client = mysql.connector.connect(port=port, ssl_disabled=True, **PLACE)
    with client.cursor() as cursor:
        cursor.execute("CREATE TABLE things (id INT PRIMARY KEY, name TEXT)")
        cursor.execute("INSERT INTO things SELECT id, name FROM items WHERE id < 100")
    with client.cursor(prepared=True) as cursor:
        for n in range(100):
            cursor.execute("SELECT id, name FROM things WHERE id = %s", (n,))
            assert len(cursor.fetchall()) == 1
    with client.cursor(prepared=True) as cursor:
        for n in range(50):
            cursor.execute("UPDATE things SET name = %s WHERE id = %s", (f"new {n}", n))
        refused(1146, lambda: cursor.execute("DELETE FROM nowhere WHERE id = %s", (1,)))
    with client.cursor(prepared=True) as cursor:
        refused(1062, lambda: cursor.execute("INSERT INTO things VALUES (%s, %s)", (1, "again")))
    with client.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM items")
        assert cursor.fetchall() == [(3101,)]
        cursor.execute("DROP TABLE items, things")
    client.close()


def held(port, folder):
    client = mysql.connector.connect(port=port, ssl_disabled=True, **PLACE)
    with client.cursor() as cursor:
        cursor.execute("CREATE TABLE items (id INT PRIMARY KEY)")
        cursor.execute("INSERT INTO items VALUES (1), (2)")
    with client.cursor(prepared=True) as cursor, client.cursor() as text:
        cursor.execute("SELECT id FROM items WHERE id = %s", (1,))
        cursor.fetchall()
        (folder / "prepared").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)
        for _ in range(20):
            cursor.execute("SELECT id FROM items WHERE id = %s", (1,))
            cursor.fetchall()
        for _ in range(10):
            text.execute("SELECT count(*) FROM items")
            text.fetchall()
        # What is no statement is answered by the database's name, among others.
        refused(1064, lambda: text.execute("SELEC 1"))
        for _ in range(10):
            text.execute("SELECT count(*) FROM items")
            text.fetchall()
    client.close()


def texts(client, phases):
    with client.cursor() as cursor:
        for n, phase in enumerate(phases):
            cursor.execute(f"SELECT id FROM {phase}_{n % 3} WHERE id = {n % 5}")
            cursor.execute(f"UPDATE {phase}_{n % 3} SET id = id WHERE id = {n % 5}")


def statements(port, phases):
    """Some of which were prepared first of all: nobody knows their texts who came later."""
    names = ("first_kept", "second_kept", "first_made", "second_made", "third_made")
    clients = {name: mysql.connector.connect(port=port, ssl_disabled=True, **PLACE) for name in names}
    cursors = {name: client.cursor(prepared=True) for name, client in clients.items()}
    # The same strings each time: another one is prepared again.
    inserts = {name: f"INSERT INTO {name} VALUES (%s)" for name in names}
    for name in ("first_kept", "second_kept"):
        cursors[name].execute(inserts[name])
    for phase in phases:
        # Each connection is also in use for something else, in text.
        for client in clients.values():
            with client.cursor() as text:
                text.execute(f"SELECT id FROM {phase}_0")
                text.fetchall()
        for name in (f"{phase}_kept", f"{phase}_made"):
            if name in cursors:
                cursors[name].execute(inserts[name], (1,))
    kept.append(clients)


port = int(sys.argv[2])
if sys.argv[1] == "all":
    in_text(port)
    prepared(port)
elif sys.argv[1] == "held":
    held(port, Path(sys.argv[3]))
else:
    phases, kept = Phases(Path(sys.argv[3]), workers=3), []
    in_words = [pymysql.connect(port=port, **PLACE) for _ in range(2)]
    run([*(lambda one=one: texts(one, phases) for one in in_words), lambda: statements(port, phases)])
    phases.stay()
