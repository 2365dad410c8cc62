"""Images of an image store in containerd: its content, its images, and snapshots that are links to mounted images.

Code here asks and changes containerd by `ctr` alone (`ctr.py`). What a run has to do is a value (`plan.py`) that
follows from three lists: the images that are declared (`shape.py`), those that containerd has (`ctr.py`), and those
that earlier runs registered (`registered.py`).
"""
