"""The small process around a trainer: standard library only, and nothing of gradloom outside this package.

`python -m gradloom.supervisor` runs one. `attempt_directory`, `attempt_log` and `processes` are also what the control
plane uses to find an attempt again and to read what it left.
"""
