"""Prints what `produce-file` is to bring through a broker: one line a record with its key and the SHA-256 of its value, in order."""

import hashlib
import sys

import cli

for key, value in cli.file_records(sys.argv[1]):
    cli.say("record", partition=-1, offset=-1, key=key.decode(), value=hashlib.sha256(value).hexdigest())
