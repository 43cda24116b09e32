"""edge: the watcher that serves a bundle to a tester, and loses nothing.

python -m kdutils.edge watch --bundle student.safetensors --inbox in --outbox out
"""
