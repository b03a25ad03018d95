"""What a command says of an --app that it cannot import."""

from pathlib import Path

import pytest

from pointsman.cli.places import PlaceUnknown, load_processes

FAULTY = """
from pointsman import DefinitionError

raise DefinitionError("process 'leaves': no rule can be chosen; add one with process.rules().")
"""
AS_PYTHON = "write it as module:attribute, as Python would import it."


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("faulty_leave", "process 'faulty_leave' does not name both a module and an attribute; write it as module:attribute."),
        ("no_such_module:x", f"process 'no_such_module:x' cannot be imported (No module named 'no_such_module'); {AS_PYTHON}"),
        ("json:x", f"process 'json:x' cannot be imported (module 'json' has no attribute 'x'); {AS_PYTHON}"),
        ("faulty_zero:x", "process 'faulty_zero:x' cannot be imported (ZeroDivisionError: division by zero); correct that module."),
        (
            "faulty_leave:leaves",
            "process 'faulty_leave:leaves' cannot be imported: process 'leaves': no rule can be chosen; add one with process.rules().",
        ),
    ],
)
def test_an_app_that_cannot_be_imported_is_refused_with_what_to_correct(
    place: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faulty_leave.py").write_text(FAULTY)
    (tmp_path / "faulty_zero.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(PlaceUnknown) as refused:
        load_processes(place)

    assert str(refused.value) == sentence
