"""The bench of image students compares like with like, and keeps what it measured."""

import numpy as np
import pandas as pd
import pytest
import torch

from kdutils import models, paths
from kdutils.bench import images as bench_images
from kdutils.train import imagegrid


def rows(n=130, side=8):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (n, side, side), np.uint8)
    y = rng.integers(0, 4, n)
    return X, y, rng.normal(0, 3, (n, 4)).astype(np.float32)


def test_pictures_are_handed_out_one_by_one_as_they_are():
    X, y, told = rows()
    data = bench_images.Pictures(X, y, told)
    x, label, t = data[7]
    assert len(data) == 130 and label == y[7]
    assert torch.equal(x, torch.from_numpy(X[7]).float() / 255)
    assert torch.equal(t, torch.from_numpy(told[7]))
    x.zero_()  # a copy of its own
    assert data[7][0].sum() > 1


@pytest.mark.parametrize("student", list(bench_images.STUDENTS))
def test_the_usual_loop_trains_the_same_students_as_the_crowd(student):
    name, sizes, lr = bench_images.STUDENTS[student]
    X, y, told = rows()
    how = {"epochs": 2, "batch": 32, "lr": lr, "seed": 5}

    def fresh():
        torch.manual_seed(1)
        return models.build(name, 8, 4, **sizes)

    cells = [imagegrid.Cell("kd", 0.3, 1.0), imagegrid.Cell("kd", 1.0, 6.0)]
    weights = imagegrid.fit_crowd(fresh(), X, y, {"teacher": told}, cells, **how)
    crowd = imagegrid.ask_crowd(fresh(), weights, X)
    data = bench_images.Pictures(X, y, told)
    for cell, z in zip(cells, crowd, strict=True):
        usual = models.predict(bench_images.one_student(fresh(), data, cell, **how), X)
        assert np.abs(usual - z).mean() < 1e-3 * np.abs(z).mean()
    assert np.abs(crowd[0] - crowd[1]).mean() > 0.02 * np.abs(z).mean()


def test_a_measurement_has_a_row_for_each_way(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "measured", lambda: tmp_path)
    threads = torch.get_num_threads()
    words = ["mlp", "--rows", "300", "--epochs", "1", "--batch", "64", "--write"]
    found = usual, crowd = bench_images.main([*words, "--baseline-cells", "2"])
    torch.set_num_threads(threads)
    assert (usual["students"], crowd["students"]) == (2, 36)
    assert usual["times"] == 1.0 and crowd["times"] > 2
    for row in found:
        assert (row["rows"], row["epochs"], row["source"]) == (300, 1, "digits")
        assert row["per_second"] == pytest.approx(row["students"] / row["seconds"])
        assert row["images_per_second"] == pytest.approx(300 * row["per_second"])
        assert abs(row["accuracy_difference"]) < 0.01 and row["threads"] == 1
    path = tmp_path / f"images-{crowd['cpu']}-t1.csv"
    assert pd.read_csv(path)["way"].tolist() == ["DataLoader loop", "crowd"]
    said = capsys.readouterr().out
    assert str(path) in said and "36 students" in said
