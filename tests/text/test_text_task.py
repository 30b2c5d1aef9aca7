from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from gaprune.compress import OnnxRunner, Session, Work
from gaprune.compress.chain import parse_chain
from gaprune.compress.storage import load_runner, save_work
from gaprune.errors import MethodError, OptionError
from gaprune.progress import SILENT, make_reporter
from gaprune.text.data import TextData
from gaprune.text.networks import BiLstm, bert_base, bilstm_base
from gaprune.text.rows import ROWS, PaperRow
from gaprune.text.task import TextTask

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def original(trained_task: TextTask) -> Work:
    assert trained_task.teacher is not None
    model = trained_task.teacher.model
    return Work.of(model, trained_task, bert_base(model.bert.config))


def test_the_original_has_learnt_the_reviews(original: Work) -> None:
    assert original.task.evaluate(original.runner.predictor(CPU), CPU)["f1_positive"] > 0.95


@pytest.fixture(scope="module")
def made(original: Work) -> dict[str, Work]:
    """Works by chain: what chains begin with alike is made once."""
    return {"none": original}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.chain)
def test_every_row_of_the_table_runs_saves_and_loads(row: PaperRow, made: dict[str, Work], tmp_path: Path) -> None:
    chain = parse_chain(row.chain)
    chain.check(made["none"].outline)
    work = made["none"]
    for method in chain.methods:
        text = "+".join(filter(None, (work.text, method.text)))
        made[text] = made.get(text) or method.apply(work, Session())
        work = made[text]
    save_work(tmp_path, work)
    inputs = work.task.inputs(5)
    again = load_runner(tmp_path).predictor(CPU)
    torch.testing.assert_close(again(inputs), work.runner.predictor(CPU)(inputs))
    assert work.task.evaluate(again, CPU)["f1_positive"] > 0.75


def test_the_student_has_nothing_to_prune(original: Work) -> None:
    student = original.task.student("bilstm")
    work = Work.of(student.model, student.task, student.base)
    with pytest.raises(MethodError, match="the student has none"):
        original.task.pruned(work, 0.5, "global")


def test_an_augmented_student_is_taught_by_answers_alone_where_labels_are_not_known(trained_task: TextTask) -> None:
    student = trained_task.student("bilstm-augmented")
    assert isinstance(student.task, TextTask)
    known = len(trained_task.data.train)
    assert len(student.task.texts) > 1.5 * known
    assert (student.task.labels[known:] == -1).all()
    report = student.task.fit(student.model, fresh=True, share=0.5, directory=None, reporter=SILENT)
    epochs = report["steps"] / math.ceil(len(student.task.texts) / 16)
    assert report["passes"] == round(epochs * len(student.task.texts) / known, 3), "over the training texts"


def test_texts_that_a_student_cuts_are_told_when_it_is_trained(
    trained_task: TextTask, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = dataclasses.replace(trained_task.settings, limit=6)
    task = TextTask(trained_task.data, trained_task.tokens, settings, CPU, teacher=trained_task.teacher)
    student = task.student("bilstm")
    report = student.task.fit(student.model, fresh=True, share=0.1, directory=None, reporter=make_reporter())
    assert f"{report['cut texts']} of 200 texts are longer than 6 of the student's tokens" in capsys.readouterr().out
    assert 0 < report["cut texts"] < 200


def test_what_is_left_of_each_layer_is_reported(made: dict[str, Work]) -> None:
    pruned = parse_chain("prune:taylor:keep=0.5:raw").methods[0].apply(made["none"], Session())
    assert pruned.steps[-1].report["layers"] == [{"heads": 2, "neurons": 16}] * 2


def test_an_unknown_student_is_refused(trained_task: TextTask) -> None:
    with pytest.raises(OptionError, match="unknown student 'gru': choose one of bilstm, bilstm-augmented"):
        trained_task.student("gru")


def test_calibration_texts_are_training_texts_in_proportion(trained_task: TextTask, review_data: TextData) -> None:
    rows = {tuple(row) for row in trained_task.train_ids.ids}
    batches = list(trained_task.calibration())
    for ids, mask in batches:
        for row, length in zip(ids.tolist(), mask.sum(1).tolist(), strict=True):
            assert tuple(row[:length]) in rows
    assert sum(len(ids) for ids, _ in batches) == min(256, len(review_data.train))


def test_recurrent_layers_are_quantized_too(made: dict[str, Work]) -> None:
    student = made["none"].task.student("bilstm")
    work = Work.of(student.model, student.task, student.base)
    quantized = parse_chain("quantize").methods[0].apply(work, Session())
    operators = quantized.steps[-1].report["quantized operators"]
    assert operators["DynamicQuantizeLSTM"] == 2
    assert "LSTM" not in operators


def test_a_factored_student_stays_factored_in_its_file(made: dict[str, Work]) -> None:
    shape = {"vocabulary": 60, "embedding": 40, "hidden": 40, "units": 8}
    task = made["none"].task.student("bilstm").task
    work = Work.of(BiLstm(**shape), task, bilstm_base("bilstm", **shape))
    onnx = parse_chain("onnx").methods[0]
    factored = parse_chain("tucker:size=0.3:raw").methods[0].apply(work, Session())
    dense, small = (_bytes(onnx.apply(network, Session())) for network in (work, factored))
    assert small < dense - 0.6 * 4 * (work.params - 60 * 40)


def _bytes(work: Work) -> int:
    assert isinstance(work.runner, OnnxRunner)
    return len(work.runner.content)
