"""edge: the watcher that serves a bundle to a tester, and loses nothing."""
