"""fit_basis: two routes that agree, exact where theory says so; missing values have no say."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scans import SEED, add_noise, low_rank, smooth_images

from xanesum.errors import RankError, StackError
from xanesum.linalg.binning import average_pixels, block_means, interpolate_blocks
from xanesum.linalg.imputation import MissingValues, fill_known, fill_missing, filling_spectra
from xanesum.linalg.subspace import fit_basis, inner_products, mean_signs, project, reconstruct


def fresh():
    return np.random.default_rng(0)


@pytest.mark.parametrize("route", ["gram", "randomized"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_recovers_an_exactly_low_rank_stack(route, dtype):
    stack = low_rank().astype(dtype)

    basis = fit_basis(stack, 3, route=route, rng=fresh())

    images = project(basis.spectra, stack)
    # float32 inputs and outputs: a few hundred products of size 20 lose some 100 eps of the largest value
    np.testing.assert_allclose(
        reconstruct(basis.spectra, images),
        stack,
        rtol=0,
        atol=200 * np.finfo(np.float32).eps * np.abs(stack).max(),
    )


def test_both_routes_agree_with_lapack():
    stack = add_noise(low_rank((20.0, 6.0, 3.0)), 1.0)
    values = np.linalg.svd(stack.reshape(len(stack), -1).astype(float), compute_uv=False)

    gram = fit_basis(stack, rng=fresh(), route="gram")
    random = fit_basis(stack, 3, rng=fresh(), route="randomized", n_power=6)

    np.testing.assert_allclose(gram.singular_values, values, rtol=1e-6)
    np.testing.assert_allclose(random.singular_values, values[:3], rtol=1e-4)
    # the third value is 2.6 times that of the noise: six power passes leave 2.6**-12 = 1e-5 of it
    overlap = np.abs(np.sum(gram.spectra[:3] * random.spectra, axis=1))
    np.testing.assert_allclose(overlap, 1, atol=1e-3)


@settings(deadline=None, max_examples=30)
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 8), st.integers(1, 9)),
    route=st.sampled_from(["gram", "randomized"]),
    data=st.data(),
)
def test_spectra_are_orthonormal_for_any_stack(shape, route, data):
    rank = data.draw(st.integers(1, min(shape[0], shape[1] * shape[2])))
    stack = np.random.default_rng(SEED).standard_normal(shape)

    basis = fit_basis(stack, rank, route=route, rng=fresh())

    assert basis.spectra.shape == (rank, shape[0])
    np.testing.assert_allclose(basis.spectra @ basis.spectra.T, np.eye(rank), atol=1e-9)
    assert np.all(np.diff(basis.singular_values) <= 1e-9 * basis.singular_values[0])


def test_gram_sums_in_blocks_as_in_one_piece(monkeypatch):
    stack = add_noise(low_rank(), 1.0)
    whole = fit_basis(stack, rng=fresh())
    monkeypatch.setattr("xanesum.linalg.subspace.BLOCK_BYTES", 8 * 30 * 50 * 7)  # blocks of 7 rows of 40

    np.testing.assert_allclose(
        fit_basis(stack, rng=fresh()).singular_values, whole.singular_values, rtol=1e-12
    )


@pytest.mark.parametrize("route", ["gram", "randomized"])
@pytest.mark.parametrize("rows", [7, 1000])
def test_masked_pixels_do_not_count(route, rows, monkeypatch):
    monkeypatch.setattr("xanesum.linalg.subspace.BLOCK_BYTES", 8 * 30 * 50 * rows)  # several blocks, or one
    stack = add_noise(low_rank(), 0.1)
    mask = np.ones(stack.shape[1:], bool)
    mask[5:9, 3:30] = False
    spoiled = np.where(mask, stack, 1e4).astype(np.float32)

    clean = fit_basis(stack * mask, 3, mask=mask, route=route, rng=fresh())
    basis = fit_basis(spoiled, 3, mask=mask, route=route, rng=fresh())

    np.testing.assert_allclose(basis.singular_values, clean.singular_values, rtol=1e-6)


def test_white_noise_keeps_its_level_in_the_coefficients_of_a_fixed_basis():
    spectra = fit_basis(low_rank(), 3, rng=fresh()).spectra
    noise = 0.3 * np.random.default_rng(SEED).standard_normal((30, 200, 200)).astype(np.float32)

    measured = project(spectra, noise).std(axis=(1, 2))

    np.testing.assert_allclose(measured, 0.3, rtol=4 / np.sqrt(2 * 40_000))  # 4 standard errors


def test_missing_values_have_no_say_in_the_fit():
    clean = low_rank()
    holes = np.random.default_rng(3).random(clean.shape) < 0.05
    spoiled = np.where(holes, np.nan, clean)

    filled = fill_missing(spoiled, rank=3, n_rounds=10)

    np.testing.assert_array_equal(filled[~holes], clean[~holes])
    # of rank 3, so what was never seen follows from what was: 1 % of the weakest component's values
    assert np.sqrt(np.mean((filled - clean)[holes] ** 2)) < 0.01 * 0.8 / np.sqrt(30)
    assert np.isnan(spoiled).sum() == holes.sum()


def test_a_whole_stack_is_not_copied_by_fill_missing():
    stack = low_rank()

    assert fill_missing(stack, rank=3) is stack


def two_states(n_energies=40, shape=(60, 70)):
    """A stack of two edges 1.5 eV apart, and a mask of pixels, of both states, that will miss the edge."""
    energy = np.linspace(-20.0, 20.0, n_energies)
    spectra = 0.5 * (1 + np.tanh((energy - np.array([[0.0], [1.5]])) / 2))
    state = np.arange(shape[1]) % 2
    thickness = 0.5 + np.abs(smooth_images(1, shape)[0])
    block = np.zeros(shape, bool)
    block[15:45, 10:50] = True
    thickness[block] *= 3
    clean = (spectra[state].T[:, None] * thickness).astype(np.float32)
    return clean, block, slice(18, 23)


def test_values_missing_in_a_region_are_filled_from_pixels_that_miss_nothing():
    clean, block, missing = two_states()
    spoiled = add_noise(clean, 0.05)
    spoiled[missing, block] = np.nan

    filled = fill_missing(spoiled, rank=5)

    error = (filled - clean)[missing, block]
    # the error of least squares on the 35 energies left, with the two spectra known
    spectra = fit_basis(clean, 2, rng=fresh()).spectra
    known, wanted = np.delete(spectra, missing, axis=1), spectra[:, missing]
    variance = np.einsum("ke,kl,le->e", wanted, np.linalg.inv(known @ known.T), wanted)
    assert np.sqrt(np.mean(error**2)) < 1.1 * 0.05 * np.sqrt(variance.mean())
    assert abs(error.mean()) < 0.01


def test_spectra_of_noise_alone_do_not_fill():
    clean, _, _ = two_states()

    spectra = filling_spectra(add_noise(clean, 0.05), rank=5)

    assert len(spectra) == 2
    assert np.linalg.norm(spectra, axis=1)[1] > 3e-3  # three times its strength, in units of 1000 sigma


def test_a_block_is_filled_as_the_whole_is():
    clean, block, missing = two_states()
    spoiled = add_noise(clean, 0.05)
    spoiled[missing, block] = np.nan
    spectra = filling_spectra(spoiled, rank=3)

    whole = fill_known(spoiled, spectra, np.ones(block.shape, bool))
    part = fill_known(spoiled[:, 20:30], spectra, np.ones((10, block.shape[1]), bool))

    np.testing.assert_allclose(part, whole[:, 20:30], atol=1e-6)


@pytest.mark.parametrize("rows", [7, 60])
def test_errors_grow_where_values_are_missing(rows):
    """Coefficients of filled pixels, from many draws of the noise, against the growth that is stated."""
    clean, block, missing = two_states()
    spoiled = add_noise(clean, 0.05)
    spoiled[missing, block] = np.nan
    filling = filling_spectra(spoiled, rank=5)
    spectra = fit_basis(clean, 2, rng=fresh()).spectra
    blocks = ((slice(y, min(y + rows, 60)), spoiled[:, y : y + rows]) for y in range(0, 60, rows))
    growth = MissingValues.of_blocks(spoiled.shape, np.ones(block.shape, bool), blocks).noise_growth(
        spectra, filling
    )

    errors = []
    for seed in range(20):
        drawn = np.where(np.isfinite(spoiled), add_noise(clean, 0.05, seed), np.float32(np.nan))
        filled = fill_known(drawn, filling, np.ones(block.shape, bool))
        errors.append(project(spectra, filled - clean) / 0.05)
    errors = np.array(errors)

    np.testing.assert_array_equal(growth[:, ~block], 1)
    assert (growth[:, block] > 1.2).all()
    # any mixture of the two coefficients: its error is at most that of independent ones with these factors
    for mixture in (np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([0.6, 0.8]), np.array([0.8, -0.6])):
        measured = np.sqrt(np.mean(np.tensordot(mixture, errors, (0, 1))[:, block] ** 2))
        stated = np.sqrt(np.mean(np.tensordot(mixture**2, growth**2, 1)[block]))
        assert measured < 1.05 * stated
    worst = np.linalg.eigvalsh(np.cov(errors[:, :, block].transpose(1, 0, 2).reshape(2, -1)))[-1]
    assert worst > 0.4 * np.max(growth[:, block] ** 2)  # not much larger than needed


def test_a_sign_makes_the_mean_positive():
    images = np.stack([np.full((3, 4), -2.0), np.full((3, 4), 1.0)]).astype(np.float32)

    np.testing.assert_array_equal(mean_signs(images), [-1, 1])


@pytest.mark.parametrize("rank", [0, 31])
def test_impossible_rank_names_the_allowed_range(rank):
    with pytest.raises(RankError, match=rf"rank must lie in 1\.\.30 .* got {rank}"):
        fit_basis(low_rank(), rank, rng=fresh())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": np.zeros((40, 50), bool)}, "no usable pixel"),
        ({"route": "lapack"}, "route must be one of auto, gram, randomized, got 'lapack'"),
    ],
)
def test_bad_options_say_what_is_wrong(options, message):
    with pytest.raises((StackError, RankError), match=message):
        fit_basis(low_rank(), rng=fresh(), **options)


def test_two_axes_are_refused():
    with pytest.raises(StackError, match=r"expected axes \(energy, y, x\), got shape \(40, 50\)"):
        fit_basis(low_rank()[0], rng=fresh())


# --- averages and products


@pytest.mark.parametrize("scale", [1, 2, 3, 8])
def test_averages_keep_the_level_of_white_noise(scale):
    noise = 0.3 * np.random.default_rng(SEED).standard_normal((30, 96, 100)).astype(np.float32)

    averaged = average_pixels(noise, scale)

    assert averaged.shape == (30, -(-96 // scale), -(-100 // scale))
    assert averaged.dtype == np.float32
    assert averaged.std() == pytest.approx(0.3, rel=4 / np.sqrt(2 * averaged.size))
    assert averaged[:, :, -1].std() == pytest.approx(0.3, rel=4 / np.sqrt(2 * averaged[:, :, -1].size))


def test_a_constant_grows_with_the_scale_and_less_in_blocks_that_the_edge_cuts_off():
    averaged = average_pixels(np.full((2, 6, 8), 5.0, np.float32), 3)

    np.testing.assert_allclose(averaged[:, :, :2], 3 * 5)
    np.testing.assert_allclose(averaged[:, :, 2], np.sqrt(3 * 2) * 5, rtol=1e-6)


def test_each_block_is_the_sum_of_its_own_pixels():
    stack = low_rank(shape=(7, 9))

    averaged = average_pixels(stack, 4)

    np.testing.assert_allclose(averaged[:, 0, 1], stack[:, :4, 4:8].sum(axis=(1, 2)) / 4, rtol=1e-4)
    np.testing.assert_allclose(averaged[:, 1, 2], stack[:, 4:, 8:].sum(axis=(1, 2)) / np.sqrt(3), rtol=1e-4)


@pytest.mark.parametrize("spoiled", [np.nan, 1e6])
def test_averages_count_only_pixels_of_the_mask(spoiled):
    mask = np.ones((4, 6), bool)
    mask[0, 0] = mask[2:, 2:4] = mask[:2, 4:] = False
    mask[0, 4] = True
    stack = np.where(mask, np.float32(5), np.float32(spoiled))[None]

    averaged = average_pixels(stack, 2, mask=mask)

    np.testing.assert_allclose(averaged[0], 5 * np.sqrt([[3, 4, 1], [4, 0, 4]]), rtol=1e-6)


def test_a_scale_of_one_changes_nothing():
    stack = low_rank()
    mask = np.ones(stack.shape[1:], bool)
    mask[3] = False

    np.testing.assert_array_equal(average_pixels(stack, 1), stack)
    np.testing.assert_array_equal(average_pixels(stack, 1, mask=mask), stack * mask)


def test_a_scale_beyond_the_image_leaves_one_block():
    stack = low_rank(shape=(5, 7))

    np.testing.assert_allclose(
        average_pixels(stack, 32)[:, 0, 0], stack.sum(axis=(1, 2)) / np.sqrt(35), rtol=1e-4
    )


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_inner_products_round_within_a_block_only(rows, monkeypatch):
    """The error is at most that of sums in float32, one term after the other, from block to block anew."""
    monkeypatch.setattr("xanesum.linalg.subspace.BLOCK_BYTES", 4 * 30 * 50 * rows)  # several blocks, or one
    found, expected = [], []
    for seed in range(10):
        stack, images = add_noise(low_rank(seed=seed), 1.0, seed + 1), low_rank(seed=seed)[:3]
        terms = images[:, None].astype(float) * stack
        products = inner_products(images, stack)
        assert products.dtype == np.float64
        found.append(np.mean((products - terms.sum(axis=(2, 3))) ** 2))
        blocks = [terms[:, :, i : i + rows].reshape(3, 30, -1) for i in range(0, 40, rows)]
        # a sum is rounded to 24 bits after every term: uniform, so with a third of the variance of its bound
        expected.append(sum(np.mean(np.sum(np.cumsum(each, axis=2) ** 2, axis=2)) for each in blocks) / 3)
    assert np.mean(found) < 2.0**-48 * np.mean(expected)


def test_block_means_leave_out_rows_and_columns_beyond_the_last_block():
    images = np.arange(2 * 7 * 9, dtype=np.float32).reshape(2, 7, 9)

    means = block_means(images, 3, dtype=np.float64)

    assert means.shape == (2, 2, 3)
    assert means.dtype == np.float64
    np.testing.assert_array_equal(means[1, 1, 2], images[1, 3:6, 6:9].mean(dtype=float))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("blocks", "shape"),
    [((1, 1), (4, 3)), ((1, 6), (50, 61)), ((6, 1), (1, 9)), ((6, 9), (96, 128)), ((6, 8), (3, 2))],
)
def test_blocks_are_interpolated_linearly_between_their_centres(blocks, shape, dtype):
    """Linear interpolation of `numpy.interp`, first along x, then along y, is the second witness."""
    means = np.random.default_rng(SEED).uniform(0.5, 2.0, blocks).astype(dtype)
    at_y, at_x = (
        np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, n - 1)
        for size, n in zip(shape, blocks, strict=True)
    )
    along_x = np.array([np.interp(at_x, np.arange(blocks[1]), row) for row in means])
    expected = np.array([np.interp(at_y, np.arange(blocks[0]), column) for column in along_x.T]).T

    found = interpolate_blocks(means, shape)

    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=8 * np.finfo(dtype).eps)
