"""The tour runs in Jupyter from its first cell to its last, and shows plots."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Jupyter's own
def test_the_tour_runs_and_shows_its_plots():
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    import nbformat

    tour = nbformat.read(ROOT / "docs" / "tour.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in tour.cells)  # committed without them
    nbclient.NotebookClient(tour, timeout=120, resources={"metadata": {"path": ROOT}}).execute()
    outputs = [output for cell in tour.cells for output in cell.get("outputs", ())]
    texts = [output.data.get("text/plain", "") for output in outputs if "data" in output]
    assert any(text.startswith("(7, ") for text in texts) and "7" in texts
    assert sum("image/png" in output.get("data", ()) for output in outputs) == 4
    assert not any(output.get("name") == "stderr" and "Error" in output.text for output in outputs)
