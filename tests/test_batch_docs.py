"""The code of docs/batch.md, run as it stands."""

import re
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def test_the_lines_of_the_page_lead_from_curves_to_a_trade(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"```python\n(.*?)```", (DOCS / "batch.md").read_text(), flags=re.DOTALL)
    exec(compile("\n".join(code), "batch.md", "exec"), {})
    said = capsys.readouterr().out
    assert "samples to the target of a new run" in said and "take a batch of" in said
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ("batch.png", "trade.png"))
