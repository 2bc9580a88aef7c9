"""The index of equations: what stands in it, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools import equations

CHAPTER = '''# %% [markdown]
r"""
# Noise
$$x = 1 \\tag{5.1}$$
<!-- definition 5.1: says what x is -->

## 5.2 Closed form | and a bar
$$y = 2 \\tag{5.2}$$
Then, with it,
$$z = 3 \\tag{5.10}$$
<!-- code 5.2: diffedu.verify.verify_mean -->
"""

# %%
# %matplotlib inline
verify("5.2", y, 2 * x)
verify_mean("5.2", y, 2)
'''
TEST = """import pytest

@pytest.mark.equation("5.10")
def test_z():
    pass
"""
INDEX = """
## [05 forward process](../chapters/05_forward_process.ipynb)

| equation | section | executed by | code |
|---|---|---|---|
| (5.1) | Noise | definition: says what x is |  |
| (5.2) | 5.2 Closed form \\| and a bar | `verify` in the chapter, `verify_mean` in the chapter | \
`diffedu.verify.verify_mean` |
| (5.10) | 5.2 Closed form \\| and a bar | [test_z](../tests/core/test_z.py) |  |
"""


def collected(root: Path, chapter: str = CHAPTER, test: str = TEST) -> tuple[list[equations.Equation], list[str]]:
    (root / "chapters").mkdir()
    (root / "tests" / "core").mkdir(parents=True)
    (root / "chapters" / "05_forward_process.py").write_text(chapter)
    (root / "tests" / "core" / "test_z.py").write_text(test)
    return equations.collect(root)


def test_index(tmp_path):
    found, faults = collected(tmp_path)
    assert faults == []
    assert equations.render(found).endswith(INDEX)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('verify("5.2"', 'verify("5.3"', "05_forward_process.py: checks (5.3), which no chapter has"),
        ("definition 5.1", "definition 5.4", "the definition note names (5.4), which no chapter has"),
        ("<!-- definition 5.1: says what x is -->", "", "(5.1) in 05_forward_process is neither executed"),
        ("\\tag{5.10}", "\\tag{5.2}", "(5.2) occurs twice"),
        ("\\tag{5.10}", "\\tag{6.1}", "\\tag{6.1} is not this chapter's number"),
        ("\\tag{5.10}", "\\tag{5.x}", "\\tag{5.x} is not this chapter's number"),
        ("verify.verify_mean", "verify.verify_men", "named as the code of (5.2), cannot be imported"),
    ],
)
def test_faults(tmp_path, old, new, fault):
    assert CHAPTER.count(old) == 1
    _, faults = collected(tmp_path, CHAPTER.replace(old, new))
    assert any(fault in one for one in faults), faults


def test_mark_of_an_unknown_equation(tmp_path):
    _, faults = collected(tmp_path, test=TEST.replace("5.10", "7.1"))
    assert "tests/core/test_z.py: checks (7.1), which no chapter has" in faults
    assert "(5.10) in 05_forward_process is neither executed nor marked as a definition" in faults


def test_every_equation_of_the_book_is_executed_and_the_index_is_fresh():
    command = [sys.executable, str(equations.ROOT / "tools" / "equations.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
