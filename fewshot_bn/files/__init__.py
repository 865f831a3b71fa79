"""Files: written whole or not at all, locked, downloaded, unpacked; where they live; cards. Needs no torch."""
