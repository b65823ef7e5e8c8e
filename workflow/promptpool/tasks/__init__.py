"""MTEB's tasks and our own. Importing mteb creates the folder MTEB_CACHE, by default in the home directory, which is
not ours to fill and may not be writable. So it is set here, before any module can import mteb.
"""

import os
import tempfile

os.environ.setdefault("MTEB_CACHE", os.path.join(tempfile.gettempdir(), "promptpool-mteb"))
