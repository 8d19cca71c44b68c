"""What may differ between a job and the one that goes on from its checkpoint."""

import pytest

from gradloom.documents import job_from_dict
from gradloom.spec import with_defaults, without_derived_defaults
from gradloom.spec.retries import Source, new_learning_rates, retry_faults
from gradloom.v1 import spec_pb2

JOB = "projects/default/jobs/old"
ADAM, SGD = ({"type": name, "config": {"learning_rate": rate}} for name, rate in (("Adam", 0.001), ("SGD", 0.1)))
BODY = {"name": "body", "match": ["hidden/**"], "optimizer": ADAM, "ema_momentum": 0.9}
HEAD = {"name": "head", "match": ["head/**"], "optimizer": SGD, "update_every_steps": 2}
SPEC = {
    "model": {
        "name": "net",
        "layers": [
            {"type": "Input", "config": {"shape": [4]}},
            {"type": "Dense", "name": "hidden", "config": {"units": 3}},
            {"type": "Dense", "name": "head", "config": {"units": 2}},
        ],
    },
    "data": {"train": {"builtin": {"name": "iris"}, "range": {"to": 100}}},
    "loss": {"type": "MeanSquaredError"},
    "metrics": [{"type": "MeanAbsoluteError"}],
    "variable_groups": [BODY, HEAD],
    "training": {"epochs": 4, "seed": 3, "early_stopping": {"patience": 2}},
}
SCHEDULE = {"type": "ExponentialDecay", "config": {"initial_learning_rate": 1, "decay_steps": 9, "decay_rate": 0.5}}


def spec_of(**changes) -> spec_pb2.JobSpec:
    return with_defaults(job_from_dict({"spec": {**SPEC, **changes}}).spec, seed=9)


def training(**changes) -> dict:
    return {"training": SPEC["training"] | changes}


def groups(body: dict | None = None, head: dict | None = None) -> dict:
    return {"variable_groups": [BODY | (body or {}), HEAD | (head or {})]}


def without(group: dict, option: str) -> dict:
    return {name: value for name, value in group.items() if name != option}


def faults(epoch: int = 3, replicas: int = 1, final: bool = False, has_best: bool = True, **changes) -> dict[str, str]:
    source = Source(JOB, spec_of(), replicas=1, epoch=epoch, final=final, has_best=has_best)
    found = retry_faults(source, spec_of(**changes), replicas)
    return {fault.field: fault.description for fault in found}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        training(epochs=3, clip_norm=1.0, jit_compile="ENABLED", gradient_accumulation_steps=4, steps_per_loop=7),
        training(epochs=40, checkpoint={"every_steps": 5, "keep": 9}, early_stopping={"patience": 9}),
        {"training": without(SPEC["training"], "early_stopping")},
        {"export": {"formats": ["KERAS"]}, "retry": {"max_attempts": 1}, "user_code": {"source": "x = 1"}},
        {"resources": {"cpu_replicas": 1}, "scheduling": {"preemptible": True}, "retention": {"keep_last": 1}},
        groups(body={"ema_momentum": 0.5, "optimizer": {"type": "Adam", "config": {"beta_1": 0.8}}}),
        groups(head={"clip_value": 1.0, "unfreeze_at_epoch": 2, "reduce_on_plateau": {"patience": 1}}),
        groups(head={"optimizer": {"type": "SGD"}, "learning_rate": SCHEDULE}),
    ],
)
def test_what_leaves_the_state_its_meaning_may_differ(changes):
    assert faults(**changes) == {}


@pytest.mark.parametrize(
    ("changes", "field", "told"),
    [
        ({"model": SPEC["model"] | {"name": "other"}}, "spec.model.name", 'was "net"; got "other"'),
        ({"model": SPEC["model"] | {"layers": SPEC["model"]["layers"][::2]}}, "spec.model.layers", "was 3 of them"),
        ({"loss": {"type": "Huber"}}, "spec.loss.type", 'was "MeanSquaredError"; got "Huber"'),
        (
            {"loss": {"type": "MeanSquaredError", "config": {"name": "x"}}},
            "spec.loss.config.name",
            'was unset; got "x"',
        ),
        (
            {
                "model": SPEC["model"]
                | {"layers": [{"type": "Input", "config": {"shape": [5]}}, *SPEC["model"]["layers"][1:]]}
            },
            "spec.model.layers[0].config.shape",
            "was [4.0]; got [5.0]",
        ),
        ({"metrics": []}, "spec.metrics", "was 1 of them; got 0 of them"),
        ({"metrics": [{"type": "MeanAbsoluteError", "name": "x"}]}, "spec.metrics[0].name", 'got "x"'),
        ({"data": {"train": {"builtin": {"name": "wine"}, "range": {"to": 100}}}}, "spec.data.train.builtin.name", ""),
        ({"data": {"train": {"builtin": {"name": "iris"}}}}, "spec.data.train.range.to", "was 100; got unset"),
        (training(global_batch_size=16), "spec.training.global_batch_size", "was 32; got 16"),
        (training(seed=4), "spec.training.seed", "was 3; got 4"),
        (training(steps_per_epoch=4), "spec.training.steps_per_epoch", "was unset; got 4"),
        (training(precision="FLOAT64"), "spec.training.precision", "was FLOAT32; got FLOAT64"),
        (training(class_weights={"1": 2.0}), "spec.training.class_weights[1]", "was unset; got 2.0"),
        (training(checkpoint={"best": "mean_absolute_error"}), "spec.training.checkpoint.best", 'was "loss"'),
        (groups(body={"match": ["hid*/**"]}), "spec.variable_groups[0].match", "was"),
        (groups(body={"optimizer": SGD}), "spec.variable_groups[0].optimizer.type", 'was "Adam"; got "SGD"'),
        (groups(head={"update_every_steps": 1}), "spec.variable_groups[1].update_every_steps", "was 2; got 1"),
        (groups(head={"ema_momentum": 0.9}), "spec.variable_groups[1].ema_momentum", "was unset; got 0.9"),
        ({"variable_groups": [HEAD, BODY]}, "spec.variable_groups", "was body, head; got head, body"),
    ],
)
def test_what_the_state_belongs_to_must_stay(changes, field, told):
    found = faults(**changes)
    assert found.keys() == {field}
    assert found[field].startswith(f"must stay as in {JOB}, because the job goes on from its checkpoint; ")
    assert told in found[field]


def test_a_frozen_group_has_no_state_to_go_on_with():
    frozen = {"name": "body", "match": ["hidden/**"], "frozen": True}
    assert "spec.variable_groups[0].frozen" in faults(variable_groups=[frozen, HEAD])


def test_an_epoch_that_was_begun_is_not_taken_back():
    assert faults(epoch=4, **training(epochs=4)) == {}
    found = faults(epoch=4, **training(epochs=3))
    assert found == {"spec.training.epochs": "must be at least 4, the epoch in which the checkpoint was saved; got 3"}


def test_without_the_best_checkpoint_its_weights_cannot_be_wanted():
    field = "spec.training.early_stopping.restore_best"
    last = training(early_stopping={"patience": 2, "restore_best": False})
    assert faults(has_best=False).keys() == {field}
    assert faults(has_best=False, epoch=1) == {}, "there was none yet"
    assert faults(has_best=False, **last) == {}
    assert faults(has_best=False, final=True, epoch=4) == {}, "it has them"
    assert faults(has_best=False, final=True, epoch=4, **training(epochs=9)).keys() == {field}


def test_the_replicas_are_as_many_as_they_were():
    assert faults(replicas=2).keys() == {"spec.resources"}
    assert "must give 1 replica, because" in faults(replicas=2)["spec.resources"]


def test_weights_of_a_third_job_have_no_place_beside_the_checkpoint():
    model = SPEC["model"] | {"initial_weights": {"job": "third"}}
    assert faults(model=model).keys() == {"spec.model.initial_weights"}


def test_a_group_has_a_new_learning_rate_when_its_optimizer_or_schedule_is_another_one():
    old = spec_of()
    assert new_learning_rates(old, spec_of()) == set()
    assert new_learning_rates(old, spec_of(**groups(head={"clip_norm": 1.0}))) == set()
    faster = {"optimizer": {"type": "SGD", "config": {"learning_rate": 0.5}}}
    assert new_learning_rates(old, spec_of(**groups(head=faster))) == {"head"}
    scheduled = {"optimizer": {"type": "Adam"}, "learning_rate": SCHEDULE}
    assert new_learning_rates(old, spec_of(**groups(body=scheduled, head=faster))) == {"body", "head"}


@pytest.mark.parametrize(
    "changes",
    [{}, training(checkpoint={"every_steps": 5}), groups(head={"reduce_on_plateau": {"patience": 2}})],
)
def test_defaults_that_follow_from_other_fields_are_filled_in_again(changes):
    spec = spec_of(**changes)
    assert with_defaults(without_derived_defaults(spec), seed=9) == spec


def test_defaults_that_follow_from_edited_fields_are_those_of_the_edits():
    bare = without_derived_defaults(spec_of(**groups(head={"reduce_on_plateau": {}})))
    bare.data.validation.builtin.name = "iris"
    bare.model.layers.add(type="Dense", name="last").config.update({"units": 1})
    bare.training.checkpoint.every_steps = 10
    filled = with_defaults(bare, seed=9)
    assert filled.training.checkpoint.best == filled.training.early_stopping.monitor == "val_loss"
    assert filled.variable_groups[1].reduce_on_plateau.monitor == "val_loss"
    assert list(filled.model.outputs) == ["last"]
    assert not filled.training.checkpoint.HasField("every_seconds")


def test_what_was_said_outright_stays_beside_edits():
    said = training(checkpoint={"best": "mean_absolute_error", "every_seconds": 5}, early_stopping={"monitor": "loss"})
    bare = without_derived_defaults(spec_of(**said))
    bare.data.validation.builtin.name = "iris"
    filled = with_defaults(bare, seed=9).training
    assert (filled.checkpoint.best, filled.checkpoint.every_seconds) == ("mean_absolute_error", 5)
