"""views: tables, figures, claims and pages of what was computed."""
