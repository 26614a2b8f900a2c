import contextlib
import io

import pytest

from tests.commands import command_in, without_pictures
from tests.training.pack.tables import OF_ROWS, QUICK, write_table
from torchbp.cli import main


@pytest.fixture(scope="session")
def pack_run(tmp_path_factory):
    """A folder with a table t.csv, and the run of a pack of 24 networks on it; what the command printed."""
    folder = tmp_path_factory.mktemp("pack")
    out, err = io.StringIO(), io.StringIO()
    with command_in(folder), without_pictures(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        write_table("t.csv")
        assert main(["fit", *OF_ROWS, "--data.target", "t", *QUICK, "--model.members", "24"]) == 0
    return folder, out.getvalue(), err.getvalue()


@pytest.fixture
def there(pack_run):
    """In the folder of `pack_run`."""
    with command_in(pack_run[0]):
        yield
