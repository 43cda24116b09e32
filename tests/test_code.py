"""Results know their code: substance changes a digest, words do not."""

from kdutils.store import code


def test_comments_docstrings_and_blank_lines_are_no_substance():
    bare = "def f(x):\n    return x + 1"
    dressed = (
        '"""Doc."""\n\n# why\ndef f(x):\n'
        '    """More.\n\n    Words."""\n\n    return x + 1\n'
    )
    assert code.substance(dressed) == code.substance(bare)


def test_a_changed_number_is_substance():
    assert code.substance("x = 1") != code.substance("x = 2")


def test_views_are_never_reached_from_a_recipe():
    for recipe in ("teachers", "kd_tabular", "kd_labels", "prune_quantize"):
        reached = code.reached(f"kdutils.recipes.{recipe}")
        assert not {name for name in reached if name.startswith("kdutils.views")}
        assert "kdutils.data.simulate.tester" in reached


def test_the_teachers_recipe_does_not_reach_the_grid_or_compression():
    reached = code.reached("kdutils.recipes.teachers")
    assert not reached & {
        "kdutils.train.grid",
        "kdutils.compress",
        "kdutils.compress.quantize",
    }
    assert {
        "kdutils.train.teachers",
        "kdutils.train",
        "kdutils.deploy.prepare",
    } <= reached
