"""edge: the watcher that serves a bundle to a tester, and loses nothing.

Import rule: standard library, numpy, `kdutils.bundle`, `kdutils.readings` and this
package; `watchdog` only in `alarm`, inside a function. It runs on a tester PC without a
training library:

    python -m kdutils.edge watch --bundle student.safetensors --inbox in --outbox out
"""
