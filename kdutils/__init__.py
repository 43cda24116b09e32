"""kdutils: the small package that the study's notebooks share.

Core modules compute, `views` only look at what was computed; see each module's first lines.
"""

__version__ = "0.1.0"
