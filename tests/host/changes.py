"""Changes of files that leave their content alone, which a commit and a build must keep."""

from __future__ import annotations

CHANGES = "chown 7 /etc/passwd && chmod 600 /etc/nginx/nginx.conf && mv /etc/nginx /etc/n && mv /etc/n /etc/nginx"
"""Shell commands that change owner, mode and place of files of the nginx image."""

CHANGED = ("sha256sum", "/etc/passwd", "/etc/nginx/nginx.conf")
"""A command that prints what is in these files."""
