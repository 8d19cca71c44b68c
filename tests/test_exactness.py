"""What `make exact` asks of every optimizer, asked of some: all options with two optimizers, all optimizers without."""

import pytest

from tests.exactness.differences import differences

TRIALS = ["SGD with momentum:1,2", "Adam:1,4", "optimizers:1,4"]


@pytest.fixture(scope="module")
def found():
    return {one.trial: one for one in differences(TRIALS, "FLOAT64")}


@pytest.mark.parametrize("trial", [trial.partition(":")[0] for trial in TRIALS])
def test_the_number_of_replicas_changes_nothing(found, trial):
    assert found[trial].exact, found[trial]
