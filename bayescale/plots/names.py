"""Short names of published studies, as they stand beside a line or a mark."""

from __future__ import annotations

SHORT_TITLES = {
    "video_dit": "video DiT", "steplaw": "StepLaw", "deepseek": "DeepSeek",
    "moonlight": "Moonlight", "porian": "Porian", "mup_dit": "muP DiT",
    "zhang_critical": "Zhang (critical batch)",
}  # fmt: skip
