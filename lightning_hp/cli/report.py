"""``lightning-hp report``: a page with pictures of a study."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from lightning_hp.study import Study


def main(root: str, in_browser: bool) -> int:
    page = Study(Path(root).absolute()).report()
    print(page)
    if in_browser:
        webbrowser.open(page.as_uri())
    return 0
