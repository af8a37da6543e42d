"""The published examples of the contract, as requests and the answers to them."""

import json
from pathlib import Path

CASES = json.loads(Path(__file__).with_suffix(".json").read_text())["cases"]
