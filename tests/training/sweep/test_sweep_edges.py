"""Optima on the edge of a grid."""

from training.sweep.edges import grid_edges, marks


def rows(losses, **more):
    """Rows from {(learning rate, batch): loss}."""
    return [
        {"N": 6600, "T": 262_144, "learning_rate": lr, "batch_size": B, "loss": loss,
         "status": "completed", **more}
        for (lr, B), loss in losses.items()
    ]  # fmt: skip


# of the prototype (design note 2.5): the optimum moves up with the batch, out of the grid at last
BOWLS = {
    (2e-3, 4): 0.5184, (4e-3, 4): 0.4813, (8e-3, 4): 0.4621, (1.6e-2, 4): 0.4618, (3.2e-2, 4): 0.48,
    (8e-3, 32): 0.5490, (1.6e-2, 32): 0.5055, (3.2e-2, 32): 0.4842,
    (8e-3, 64): 0.6524, (1.6e-2, 64): 0.5630, (3.2e-2, 64): 0.5193,
}  # fmt: skip


def sides(found):
    return {(e.axis, e.cell.get("batch_size")): (e.best, e.side) for e in found}


def test_optima_of_the_prototype_are_marked_as_its_table_says():
    assert sides(grid_edges(rows(BOWLS))) == {
        ("learning_rate", 4.0): (1.6e-2, "inside"),
        ("learning_rate", 32.0): (3.2e-2, "edge_high"),
        ("learning_rate", 64.0): (3.2e-2, "edge_high"),
        ("batch_size", None): (4.0, "edge_low"),
    }


def test_marks_stand_at_the_rows_of_the_optimum():
    table = rows(BOWLS)
    words = marks(table)
    assert [(row["learning_rate"], row["batch_size"], word)
            for row, word in zip(table, words, strict=True) if word] == [
        (1.6e-2, 4, "batch_size:edge_low"),
        (3.2e-2, 32, "learning_rate:edge_high"),
        (3.2e-2, 64, "learning_rate:edge_high"),
    ]  # fmt: skip


def test_a_diverged_run_bounds_the_grid_and_a_failed_one_does_not():
    three = rows({(1e-3, 4): 0.5, (2e-3, 4): 0.4})
    assert sides(grid_edges(three))["learning_rate", 4.0] == (2e-3, "edge_high")
    diverged = {**three[0], "learning_rate": 4e-3, "loss": None, "status": "diverged"}
    assert sides(grid_edges([*three, diverged]))["learning_rate", 4.0] == (2e-3, "inside")
    failed = {**diverged, "status": "failed"}
    assert sides(grid_edges([*three, failed]))["learning_rate", 4.0] == (2e-3, "edge_high")


def test_a_single_value_is_no_grid_and_cells_do_not_mix():
    assert grid_edges(rows({(1e-3, 4): 0.5})) == []
    assert grid_edges([]) == []
    apart = [*rows({(1e-3, 4): 0.5}), *rows({(2e-3, 4): 0.4}, conditioning="cross")]
    assert grid_edges(apart) == []
    other_T = [*rows({(1e-3, 4): 0.5}), *(r | {"T": 1} for r in rows({(2e-3, 4): 0.4}))]
    assert grid_edges(other_T) == []


def test_seeds_are_averaged():
    table = rows({(1e-3, 4): 0.50, (2e-3, 4): 0.45, (4e-3, 4): 0.48})
    lucky = {**table[0], "loss": 0.44, "seed": 1}
    found = sides(grid_edges([*table, lucky]))  # 0.47 on average
    assert found["learning_rate", 4.0] == (2e-3, "inside")


def test_a_grid_where_everything_diverged_has_no_optimum():
    table = [row | {"status": "diverged"} for row in rows({(1e-3, 4): 1.0, (2e-3, 4): 1.0})]
    assert grid_edges(table) == []


def test_other_data_or_another_parametrisation_make_other_cells():
    low, high = {(1e-3, 16): 0.3, (2e-3, 16): 0.2}, {(4e-3, 16): 0.1}
    for name in ("dataset", "data_captions", "model_parametrisation", "objective_path"):
        found = grid_edges(rows(low, **{name: "one"}) + rows(high, **{name: "other"}))
        assert [(each.best, each.side) for each in found] == [(2e-3, "edge_high")]
