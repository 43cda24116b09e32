"""kdutils: the small package that the study's notebooks share.

Core modules compute; `views` only look at what was computed. Each module's first lines
say what it is for and whom it may import.
"""

__version__ = "0.1.0"
