"""``python -m langchain_modelmgr``: the command ``modelmgr``."""

from __future__ import annotations

from langchain_modelmgr.cli import main

if __name__ == "__main__":
    main()
