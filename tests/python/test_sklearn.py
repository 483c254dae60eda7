"""Estimators as scikit-learn takes them: its own checks, clones, pipelines, searches."""

import numpy as np
import pandas
import pytest
from lyceum.conformal import (
    APS, LAC, RAPS, SAPS, ClassConditional, CQRRegressor, CrossRegressor, EnbPIRegressor, Mondrian, Naive, NotFittedError, SplitRegressor, TopK, VennAbers, Weighted,
    p_values,
)
from sklearn.base import clone
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted

CLASSIFIERS = [RAPS(lam=0.1, k_reg=1), APS(), LAC(), SAPS(), TopK(), Naive(), ClassConditional(), VennAbers()]
REGRESSORS = [SplitRegressor(LinearRegression()), CrossRegressor(LinearRegression(), folds=3), EnbPIRegressor(LinearRegression(), members=5)]

# Logits have a column a class: what the checks give as data has columns of any number.
NOT_LOGITS = "columns are classes, which the data of this check have not"
# What is given back is sets and intervals, not one number a row.
NOT_NUMBERS = "sets and intervals are no arrays of one number a row"
EXPECTED = {
    name: NOT_LOGITS
    for name in (
        "check_fit2d_1sample", "check_fit2d_1feature", "check_fit2d_predict1d", "check_estimators_dtypes", "check_dtype_object",
        "check_estimators_fit_returns_self", "check_readonly_memmap_input", "check_estimators_overwrite_params", "check_dict_unchanged",
        "check_estimators_pickle", "check_fit_score_takes_y", "check_pipeline_consistency", "check_n_features_in", "check_f_contiguous_array_estimator",
        "check_dont_overwrite_attributes", "check_fit_check_is_fitted", "check_n_features_in_after_fitting", "check_dataframe_column_names_consistency",
        "check_methods_sample_order_invariance", "check_methods_subset_invariance", "check_fit_idempotent", "check_mixin_order", "check_estimators_nan_inf",
        "check_estimator_sparse_array", "check_estimator_sparse_matrix", "check_estimator_sparse_tag", "check_complex_data", "check_estimators_empty_data_messages",
        "check_fit1d", "check_requires_y_none", "check_positive_only_tag_during_fit", "check_valid_tag_types",
    )
}
OF_NUMBERS = {
    name: NOT_NUMBERS
    for name in ("check_methods_sample_order_invariance", "check_methods_subset_invariance", "check_fit_idempotent", "check_pipeline_consistency", "check_mixin_order",
                 "check_estimator_sparse_array", "check_estimator_sparse_matrix")
}


def table(estimator, expected):
    """What each check came to."""
    found = check_estimator(estimator, expected_failed_checks=expected, on_fail=None)
    return {entry["check_name"]: (entry["status"], entry["exception"]) for entry in found}


@pytest.mark.parametrize("estimator", CLASSIFIERS + REGRESSORS, ids=lambda estimator: type(estimator).__name__)
@pytest.mark.filterwarnings("ignore")
def test_checks_of_scikit_learn(estimator):
    found = table(estimator, EXPECTED if estimator in CLASSIFIERS else OF_NUMBERS)
    failed = {name: error for name, (status, error) in found.items() if status == "failed"}
    assert not failed, failed
    passed = [name for name, (status, _) in found.items() if status == "passed"]
    # Of those about options, copies and what an estimator is before it is fitted, none may be left out.
    always = {"check_get_params_invariance", "check_set_params", "check_parameters_default_constructible", "check_no_attributes_set_in_init",
              "check_estimator_cloneable", "check_estimator_repr", "check_estimator_tags_renamed", "check_do_not_raise_errors_in_init_or_set_param"}
    assert always <= set(passed) | {name for name in always if name not in found}, (passed, found)


def data(n=900, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    return rng.normal(size=(n, classes)) + 2 * np.eye(classes)[y], y


def test_clones_searches_and_nested_options():
    logits, y = data()
    scheme = ClassConditional(RAPS(0.2, lam=0.1, k_reg=1), clusters=None)
    copy = clone(scheme)
    assert copy.get_params()["method__alpha"] == 0.2 and copy.method is not scheme.method
    assert copy.set_params(method__alpha=0.3).method.alpha == 0.3 and scheme.method.alpha == 0.2
    with pytest.raises(ValueError, match="no option 'aplha'"):
        copy.set_params(method__aplha=0.3)
    assert cross_val_score(LAC(0.1), logits, y, cv=3).mean() == pytest.approx(0.9, abs=0.03)
    search = GridSearchCV(RAPS(lam=0.1, k_reg=1), {"alpha": [0.1, 0.3]}, cv=3).fit(logits, y)
    assert search.best_params_ == {"alpha": 0.1}
    assert repr(LAC(alpha=0.2)) == "LAC(alpha=0.2)" and repr(ClassConditional(LAC())) == "ClassConditional(method=LAC())"


def test_names_of_labels_groups_and_columns():
    logits, y = data(classes=3)
    names = np.array(["cat", "dog", "owl"])
    sets = LAC(0.1).fit(logits[:600], names[y[:600]]).predict(logits[600:])
    plain = LAC(0.1).fit(logits[:600], y[:600]).predict(logits[600:])
    assert all((a == names[b]).all() for a, b in zip(sets, plain))
    assert sets.coverage(names[y[600:]]) == plain.coverage(y[600:]) and sets.to_pandas().columns.tolist() == names.tolist()
    # Columns in another order than the alphabet.
    order = LAC(0.1, classes=["owl", "cat", "dog"]).fit(logits[:600][:, [2, 0, 1]], names[y[:600]])
    assert order.score(logits[600:][:, [2, 0, 1]], names[y[600:]]) == plain.coverage(y[600:]).share
    with pytest.raises(ValueError, match="2 classes for 3 columns"):
        LAC().fit(logits[:2], ["a", "b"])
    with pytest.raises(ValueError, match="row 1: found 'emu'; allowed: 'cat', 'dog', 'owl'"):
        LAC(classes=names).fit(logits[:2], ["cat", "emu"])
    frame = pandas.DataFrame(logits, columns=names)
    fitted = LAC().fit(frame[:600], y[:600])
    assert fitted.feature_names_in_.tolist() == names.tolist() and fitted.n_features_in_ == 3
    with pytest.raises(ValueError, match="in the order that it was fitted with"):
        fitted.predict(frame[["owl", "cat", "dog"]])
    groups = np.array(["night", "day"])[y % 2]
    mondrian = Mondrian(LAC(0.1)).fit(logits[:600], y[:600], groups[:600])
    numbers = Mondrian(LAC(0.1)).fit(logits[:600], y[:600], 1 - y[:600] % 2 * 1)
    assert mondrian.groups_.tolist() == ["day", "night"]
    assert mondrian.predict(logits[600:], groups[600:]) == numbers.predict(logits[600:], (groups[600:] == "night").astype(int))
    assert (mondrian.predict(logits[:2], ["dusk", "dusk"]).sizes == 3).all()


def test_what_is_fitted_is_known():
    logits, y = data(60)
    for estimator in [LAC(), Mondrian(), Weighted(), ClassConditional(), SplitRegressor(LinearRegression())]:
        with pytest.raises(NotFittedError):
            estimator.predict(*([logits] if not isinstance(estimator, (Mondrian, Weighted)) else [logits, y]))
        with pytest.raises(Exception, match="not fitted"):
            check_is_fitted(estimator)
    check_is_fitted(LAC().fit(logits, y))


def test_warnings_where_a_user_is_about_to_be_fooled():
    logits, y = data(60)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    with pytest.warns(UserWarning, match="add up to 1"):
        LAC().fit(shares, y)
    with pytest.warns(UserWarning, match="every set holds every label"):
        LAC(0.001).fit(logits, y)


def test_labels_of_many_kinds():
    import pyarrow

    logits, y = data(200, classes=3)
    names = np.array(["cat", "dog", "owl"])[y]
    expected = LAC().fit(logits, names).predict(logits)
    for kind in (names.tolist(), names.astype(object), pandas.Series(names), pyarrow.array(names), pyarrow.chunked_array([names])):
        assert LAC().fit(logits, kind).predict(logits) == expected
    assert LAC().fit(logits, y.astype(object)).classes_.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="each label once"):
        LAC(classes=["a", "a", "b"]).fit(logits, names)
    for wrong in ([None, *names[1:]], 3, [[1]] * 200):
        with pytest.raises(ValueError, match="y"):
            LAC().fit(logits, wrong)
    # The same data with the columns in another order have the same p-values.
    plain = p_values(LAC(), logits[:100], y[:100], logits[100:])
    turned = p_values(LAC(classes=[2, 1, 0]), logits[:100, ::-1], y[:100], logits[100:, ::-1])
    assert np.array_equal(plain, turned[:, ::-1])
    assert len(expected[[]]) == 0 and len(expected[y == 1]) == (y == 1).sum()


def test_regressors_get_the_data_as_they_are():
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OneHotEncoder

    rng = np.random.default_rng(0)
    X = pandas.DataFrame({"kind": rng.choice(["a", "b"], 300), "size": rng.normal(size=300)})
    y = X["size"].to_numpy() + (X["kind"] == "a") + rng.normal(size=300) / 5
    X.loc[::7, "size"] = np.nan
    model = make_pipeline(ColumnTransformer([("kind", OneHotEncoder(), ["kind"]), ("size", SimpleImputer(), ["size"])]), LinearRegression())
    for estimator in (SplitRegressor(model, 0.2), CrossRegressor(model, 0.2, folds=4)):
        assert estimator.fit(X[:200], y[:200]).score(X[200:], y[200:]) > 0.65
        with pytest.raises(ValueError, match="found 1 numbers"):
            estimator.score(X[200:], [0.0])


def regression(n, seed):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (n, 2))
    return X, X @ [1.0, -2.0] + (0.3 + np.abs(X[:, 0])) * rng.normal(size=n)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SplitRegressor(LinearRegression(), 0.2),
        lambda: SplitRegressor(LinearRegression(), 0.2, difficulty=GradientBoostingRegressor(n_estimators=10)),
        lambda: CQRRegressor(*(GradientBoostingRegressor(loss="quantile", alpha=a, n_estimators=20) for a in (0.1, 0.9)), 0.2),
        lambda: CQRRegressor(*(GradientBoostingRegressor(loss="quantile", alpha=a, n_estimators=20) for a in (0.1, 0.9)), 0.2, symmetric=False),
        lambda: CrossRegressor(LinearRegression(), 0.2, folds=5),
        lambda: CrossRegressor(LinearRegression(), 0.2, folds=5, method="minmax"),
    ],
)
def test_intervals_cover(make):
    """Coverage over many draws of the data, called whole, in a pipeline, and one by one."""
    shares = []
    for seed in range(12):
        X, y = regression(400, seed)
        fitted = make().fit(X[:200], y[:200])
        shares.append(fitted.score(X[200:], y[200:]))
    # Of 12 times 200 points, each with the error of its calibration.
    assert 0.8 - 0.035 < np.mean(shares) < 0.93, shares
    low, high = fitted.predict(X[200:])
    one = [fitted.predict(row[None]) for row in X[200:205]]
    # The estimators themselves round otherwise row by row.
    assert np.allclose([o.low[0] for o in one], low[:5], rtol=1e-12) and np.allclose([o.high[0] for o in one], high[:5], rtol=1e-12)
    piped = make_pipeline(StandardScaler(), make()).fit(X[:200], y[:200])
    assert abs(piped.score(X[200:], y[200:]) - 0.8) < 0.2


def test_several_levels_in_one_call():
    logits, y = data()
    for method in (LAC(0.2), RAPS(0.2), APS(0.2, temperature="fit")):
        fitted = method.fit(logits[:600], y[:600])
        found = fitted.predict(logits[600:], alpha=[0.3, 0.2, 0.05])
        assert found[1] == fitted.predict(logits[600:]) == fitted.predict(logits[600:], alpha=np.float64(0.2))
        assert [sets.sizes.sum() for sets in found] == sorted(sets.sizes.sum() for sets in found)
    assert LAC(0.05).fit(logits[:600], y[:600]).predict(logits[600:]) == LAC(0.2).fit(logits[:600], y[:600]).predict(logits[600:], alpha=0.05)
    for wrong in (0.0, 1.5, [0.1, np.nan]):
        with pytest.raises(ValueError, match="alpha"):
            fitted.predict(logits, alpha=wrong)
    X, y = series(400)
    for regressor in (SplitRegressor(LinearRegression()), CrossRegressor(LinearRegression(), folds=4), EnbPIRegressor(LinearRegression(), members=9),
                      CQRRegressor(*(GradientBoostingRegressor(loss="quantile", alpha=a, n_estimators=5) for a in (0.1, 0.9)))):
        fitted = regressor.fit(X[:200], y[:200])
        low, high = fitted.predict(X[200:], alpha=[0.5, 0.1])
        assert low.shape == (200, 2) and (high - low)[:, 1].mean() > (high - low)[:, 0].mean()
        assert np.array_equal(np.stack(fitted.predict(X[200:])), np.stack([low[:, 1], high[:, 1]]))
        with pytest.raises(ValueError, match="alpha"):
            fitted.predict(X, alpha=[])


def series(n, seed=0):
    """A wave with errors that depend on those before."""
    rng = np.random.default_rng(seed)
    X = np.stack([np.sin(np.arange(n) / 9), np.cos(np.arange(n) / 9)], axis=1)
    errors = np.zeros(n)
    for t in range(1, n):
        errors[t] = 0.6 * errors[t - 1] + rng.exponential() - 1
    return X, 3 * X[:, 0] + errors


def test_distributions_are_calibrated():
    held, crps, widths = [], [], []
    for trial in range(60):
        rng = np.random.default_rng(trial)
        X = rng.normal(size=(220, 2))
        y = X[:, 0] + (0.2 + np.abs(X[:, 1])) * rng.normal(size=220)
        model = SplitRegressor(LinearRegression(), difficulty=GradientBoostingRegressor(n_estimators=10), random_state=trial).fit(X[:120], y[:120])
        found = model.predict_distribution(X[120:])
        held.append(found.cdf(y[120:], random_state=trial))
        crps.append([found.crps(y[120:]).mean(), found.crps(y[120:] + 1).mean()])
        low, high = found.interval(0.2)
        widths.append(np.mean((low <= y[120:]) & (y[120:] <= high)))
        quantiles = found.quantile([0.2, 0.5, 0.7])
        assert (np.diff(quantiles, axis=1) >= 0).all() and np.array_equal(found.quantile(0.5), quantiles[:, 1])
        assert len(found) == 100 and (found.cdf(quantiles[:, 0]) <= 0.25).all()
    shares = np.histogram(np.concatenate(held), bins=10, range=(0, 1))[0] / 6000
    assert np.abs(shares - 0.1).max() < 0.025, shares
    assert np.mean(crps, axis=0)[0] < np.mean(crps, axis=0)[1] and np.mean(widths) == pytest.approx(1 - 6 / 37, abs=0.02), "36 points: 3 of 37 at each end"
    with pytest.raises(ValueError, match="levels: found 2"):
        found.quantile(2)
    with pytest.raises(ValueError, match="y: found 2 numbers"):
        found.cdf([1.0, 2.0])


def test_a_series_is_covered_and_followed():
    X, y = series(1800)
    y[900:] += 6  # from then on
    held, widths = [], {}
    for symmetric in (True, False):
        model = EnbPIRegressor(LinearRegression(), 0.1, block_length=20, symmetric=symmetric).fit(X[:300], y[:300])
        widths[symmetric] = np.mean(np.subtract(*model.predict(X[:300])[::-1]))
        for at in range(300, 1800, 10):
            rows = slice(at, at + 10)
            if not 900 <= at < 1200:
                held.append(model.score(X[rows], y[rows]))
            model = model.update(X[rows], y[rows])
    still = EnbPIRegressor(LinearRegression(), 0.1, block_length=20).fit(X[:300], y[:300])
    assert np.mean(held) == pytest.approx(0.9, abs=0.04) and still.score(X[1200:], y[1200:]) < 0.2, np.mean(held)
    assert widths[False] < widths[True], "the errors lean to one side"
    # As independent points: coverage as split conformal prediction has it.
    covered = []
    for trial in range(40):
        rng = np.random.default_rng(trial)
        X = rng.normal(size=(160, 3))
        y = X.sum(1) + rng.normal(size=160)
        covered.append(EnbPIRegressor(LinearRegression(), 0.2, members=10, random_state=trial).fit(X[:80], y[:80]).score(X[80:], y[80:]))
    assert np.mean(covered) == pytest.approx(0.8, abs=0.03)
    with pytest.raises(ValueError, match="block_length: found 300; allowed: 1 to 80"):
        EnbPIRegressor(LinearRegression(), block_length=300).fit(X[:80], y[:80])


def test_probabilities_are_calibrated():
    for classes in (2, 4):
        logits, y = data(8000, classes)
        sure = 4 * logits
        model = VennAbers(classes=[f"label {k}" for k in range(classes)]).fit(sure[:4000], np.array([f"label {k}" for k in y[:4000]]))
        proba, (low, high) = model.predict_proba(sure[4000:]), model.predict_intervals(sure[4000:])
        assert np.allclose(proba.sum(1), 1) and (low <= high).all() and proba.shape == (4000, classes)
        plain = np.exp(sure[4000:] - sure[4000:].max(1, keepdims=True))
        plain /= plain.sum(1, keepdims=True)

        def error(p, truth=y[4000:]):
            """The expected error of calibration in ten bins."""
            chosen, right = p.max(1), p.argmax(1) == truth
            bins = np.minimum((chosen * 10).astype(int), 9)
            return sum(abs(chosen[bins == b].mean() - right[bins == b].mean()) * np.mean(bins == b) for b in set(bins))

        assert error(proba) < error(plain) / 2.5, (error(proba), error(plain))
        assert set(model.predict(sure[4000:])) <= set(model.classes_)
        assert model.score(sure[4000:], model.classes_[y[4000:]]) == pytest.approx((plain.argmax(1) == y[4000:]).mean(), abs=0.02)
    with pytest.raises(ValueError, match="not finite"):
        model.predict_proba(np.full((1, 4), np.nan))
