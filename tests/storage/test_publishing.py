"""Models and results in an object store: whole or not there, whoever dies and whoever writes at the same time."""

import itertools
import random
import threading

import dask
import dask.array as da
import numpy as np
import obstore
import pytest
import xarray as xr
import zarr
from obstore.store import from_url
from zarr.storage import ObjectStore

from dgmm import BFRGaussianMixture, GaussianMixture, write_results
from dgmm.errors import DgmmError, ExistsError, FormatError, WriteError
from dgmm.estimators.loading import load_mixture
from dgmm.storage import storing
from dgmm.storage.objects import ObjectPlace
from dgmm.storage.urls import ObjectUrl

X = np.random.default_rng(0).normal(size=(60, 1)) + np.repeat([0.0, 5.0], 30)[:, None]


def fitted(k=2, **parameters):
    return GaussianMixture(k, random_state=0, **parameters).fit(X)


MODELS = [fitted(k) for k in (2, 3, 4)]


def is_model(found, model):
    names = ("weights_", "means_", "covariances_", "precisions_cholesky_")
    return all(np.array_equal(getattr(found, name), getattr(model, name)) for name in names)


def which(url):
    """The number of the model that lies at a URL, to dgmm and to xarray; None if there is none."""
    if not ObjectUrl(url).exists():
        with pytest.raises(FormatError, match=r"there is nothing at|is being written"):
            GaussianMixture.load(url)
        return None
    found = GaussianMixture.load(url)
    weights = xr.open_zarr(ObjectStore(from_url(url))).weights.values
    assert np.array_equal(weights, found.weights_)
    (number,) = [number for number, model in enumerate(MODELS) if is_model(found, model)]
    return number


def keys(url):
    return sorted(item["path"] for page in obstore.list(from_url(url)) for item in page)


# -- models -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["full", "tied-spherical"])
def test_a_model_at_a_url_is_the_model_also_when_it_is_replaced(s3, tmp_path, family):
    rows = np.random.default_rng(1).normal(size=(90, 2))
    for k in (2, 3, 2):
        model = GaussianMixture(k, covariance_type=family, random_state=0, tol=1.0).fit(rows)
        model.save(s3, overwrite=True, sample=k == 3)
        assert is_model(load_mixture(s3), model)
        plain = xr.open_zarr(ObjectStore(from_url(s3)))
        assert np.array_equal(plain.covariances.values, model.covariances_)
        assert ("sample" in plain) == hasattr(GaussianMixture.load(s3), "sample_") == (k == 3)
    # Readers that know nothing of consolidated metadata.
    assert np.array_equal(zarr.open_array(ObjectStore(from_url(s3)), path="means", mode="r")[...], model.means_)
    # A copy of all objects, as other programs make it, is a model too.
    for key in keys(s3):
        path = tmp_path / "copy" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(obstore.get(from_url(s3), key).bytes()))
    assert is_model(GaussianMixture.load(tmp_path / "copy"), model)


def test_a_scan_and_a_model_that_was_uploaded_are_read(s3, tmp_path):
    model = BFRGaussianMixture(2, random_state=0, sample_rows=40, buffer_rows=10).fit(X)
    model.save(tmp_path / "m.zarr")
    for file in (tmp_path / "m.zarr").rglob("*"):
        if file.is_file():
            obstore.put(from_url(s3), file.relative_to(tmp_path / "m.zarr").as_posix(), file.read_bytes())
    found = load_mixture(s3)
    assert isinstance(found, BFRGaussianMixture)
    assert is_model(found, model)


def test_what_was_replaced_is_gone(s3):
    for model in (MODELS[0], MODELS[1], MODELS[0]):
        model.save(s3, overwrite=True)
    MODELS[0].save(s3, overwrite=True, sample=False)
    contents = {key: bytes(obstore.get(from_url(s3), key).bytes()) for key in keys(s3)}
    assert not [key for key, data in contents.items() if key.startswith("sample/") and data]
    write_results(np.arange(3), s3, overwrite=True)
    assert {key.split("/")[0] for key in keys(s3)} == {"labels", "zarr.json"}
    MODELS[0].save(s3, overwrite=True)
    assert which(s3) == 0
    assert "labels/zarr.json" not in keys(s3)


def test_nothing_is_replaced_that_is_not_asked_for(s3):
    MODELS[0].save(s3)
    with pytest.raises(ExistsError, match="exists already"):
        MODELS[1].save(s3)
    assert which(s3) == 0
    folder = s3.rpartition("/")[0]
    for write in (MODELS[1].save, lambda path, **options: write_results(np.arange(3), path, **options)):
        with pytest.raises(ExistsError, match="no zarr store, so it is never overwritten"):
            write(folder, overwrite=True)
    obstore.put(from_url(folder), "file.zarr", b"somebody's")
    with pytest.raises(ExistsError, match="no zarr store"):
        MODELS[1].save(f"{folder}/file.zarr", overwrite=True)
    assert which(s3) == 0


def test_a_damaged_model_is_not_taken_for_one(s3):
    MODELS[0].save(s3)
    obstore.put(from_url(s3), "means/c/0/0", b"nonsense")
    with pytest.raises(FormatError, match=f"the model at {s3} is damaged"):
        GaussianMixture.load(s3)
    obstore.delete(from_url(s3), "means/c/0/0")
    with pytest.raises(FormatError, match=f"the model at {s3} is damaged: means has 0 chunks"):
        GaussianMixture.load(s3)


def test_a_bucket_that_is_not_there_is_told(s3):
    url = s3.replace("dgmm-test", "dgmm-none")
    for ask in (MODELS[0].save, GaussianMixture.load, lambda path: write_results(np.arange(3), path)):
        with pytest.raises(DgmmError, match=r"s3://dgmm-none/.*the bucket to be listed is not there"):
            ask(url)


# -- whoever dies -------------------------------------------------------------------------------


class DeadError(BaseException):
    pass


@pytest.fixture
def die_before(monkeypatch):
    """Sets before which change of the store a process dies: none comes after it."""
    count = itertools.count(1)
    at = [0]

    def wrap(operation):
        def change(*arguments):
            if at[0] and next(count) >= at[0]:
                raise DeadError
            return operation(*arguments)

        return change

    for name in ObjectPlace.DURABLE:
        monkeypatch.setattr(ObjectPlace, name, wrap(getattr(ObjectPlace, name)))

    def before(number):
        nonlocal count
        count, at[0] = itertools.count(1), number

    return before


@pytest.mark.parametrize("replaced", [False, True])
def test_a_kill_before_any_change_leaves_the_old_model_or_the_new_one(s3, die_before, replaced):
    seen = []
    for number in itertools.count(1):
        url = f"{s3}-{number}"
        if replaced:
            MODELS[0].save(url, sample=False)
        die_before(number)
        try:
            MODELS[1].save(url, overwrite=replaced, sample=False)
        except DeadError:
            die_before(0)
            seen.append(which(url))
            if number % 4 == 0:
                MODELS[2].save(url, overwrite=seen[-1] is not None, sample=False)
                assert which(url) == 2
        else:
            break
    old = 0 if replaced else None
    assert set(seen) == ({old, 1} if replaced else {old})
    assert seen == sorted(seen, key=lambda found: found == 1)
    assert len(seen) >= (16 if replaced else 12)


def test_a_kill_before_any_change_leaves_all_results_or_none(s3, die_before, monkeypatch):
    """Blocks are changes as well."""
    results = xr.DataArray(da.arange(8, chunks=2) % 3, dims="row", coords={"row": np.arange(8.0)}, name="labels")
    inner, blocks = storing._Target.__setitem__, itertools.count(1)
    dying = [0]

    def write(target, region, block):
        if dying[0] and next(blocks) >= dying[0]:
            die_before(1)
            raise DeadError
        inner(target, region, block)

    monkeypatch.setattr(storing._Target, "__setitem__", write)
    with dask.config.set(scheduler="synchronous"):
        # Changes that are not blocks: the first head, the old objects, two pieces of metadata, a coordinate, the head.
        for replaced, (change, block) in itertools.product(
            (False, True), [*((n, 0) for n in range(1, 7)), (0, 1), (0, 3)]
        ):
            if change == 6 and not replaced:
                continue
            url = f"{s3}-{replaced}-{change}-{block}"
            if replaced:
                write_results(results + 10, url)
            blocks, dying[0] = itertools.count(1), block
            die_before(change)
            with pytest.raises(DeadError):
                write_results(results, url, overwrite=replaced)
            dying[0] = 0
            die_before(0)
            place = ObjectUrl(url)
            assert place.exists() == (replaced and change == 1)
            if not place.exists():
                with pytest.raises(FileNotFoundError):
                    xr.open_zarr(ObjectStore(from_url(url)))
            write_results(results, url, overwrite=place.exists())
            assert xr.open_zarr(ObjectStore(from_url(url))).labels.values.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
            assert [key for key in keys(url) if "/c/" in key] == [*(f"labels/c/{i}" for i in range(4)), "row/c/0"]


def test_what_cannot_be_computed_leaves_nothing(s3):
    def fail(block):
        raise ZeroDivisionError

    results = da.arange(8, chunks=2).map_blocks(fail, dtype=int, meta=np.empty(0, int))
    with pytest.raises(ZeroDivisionError):
        write_results(results, s3)
    assert keys(s3) == []


# -- two at once --------------------------------------------------------------------------------


class Turns:
    """Lets threads change the store in an order that is drawn, one change at a time."""

    def __init__(self, seed, n_writers):
        self.draw, self.changed = random.Random(seed), threading.Condition()
        self.waiting, self.running, self.current = set(), n_writers, None

    def take(self):
        with self.changed:
            self.waiting.add(own := threading.get_ident())
            self.choose()
            assert self.changed.wait_for(lambda: self.current == own, 60)
            self.waiting.discard(own)
            self.current = None

    def taken_by(self, operation):
        def in_turn(*arguments):
            self.take()
            return operation(*arguments)

        return in_turn

    def choose(self):
        if len(self.waiting) == self.running and self.waiting:
            self.current = self.draw.choice(sorted(self.waiting))
            self.changed.notify_all()

    def leave(self):
        with self.changed:
            self.running -= 1
            self.choose()


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_of_two_who_write_at_once_one_wins_whole(s3, monkeypatch, seed, replaced):
    if replaced:
        MODELS[0].save(s3)
    turns, ended = Turns(seed, 2), {}

    def save(number):
        try:
            MODELS[number].save(s3, overwrite=True)
            ended[number] = None
        except DgmmError as error:
            ended[number] = error
        finally:
            turns.leave()

    with monkeypatch.context() as patched:
        for name in ObjectPlace.DURABLE:
            patched.setattr(ObjectPlace, name, turns.taken_by(getattr(ObjectPlace, name)))
        writers = [threading.Thread(target=save, args=(number,)) for number in (1, 2)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(60)
    assert [type(ended[number]) for number in (1, 2)].count(WriteError) <= 1
    assert ended[which(s3)] is None


def test_a_reader_never_sees_half_a_model(s3):
    MODELS[0].save(s3)
    done, seen = threading.Event(), set()

    def save():
        try:
            for number in (1, 2, 0, 1, 2, 0, 1, 2):
                MODELS[number].save(s3, overwrite=True)
        finally:
            done.set()

    writer = threading.Thread(target=save)
    writer.start()
    while not done.is_set():
        found = GaussianMixture.load(s3)
        seen |= {number for number, model in enumerate(MODELS) if is_model(found, model)}
    writer.join()
    assert seen <= {0, 1, 2}
    assert len(seen) > 1


def test_who_loses_a_place_while_blocks_are_written_stops(s3, monkeypatch):
    inner, first = storing._Target.__setitem__, []

    def write(target, region, block):
        if not first:
            first.append(target)
            write_results(np.full(8, 7), s3)
        inner(target, region, block)

    monkeypatch.setattr(storing._Target, "__setitem__", write)
    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(WriteError, match="another process has begun to write"),
    ):
        write_results(da.arange(8, chunks=2), s3)
    assert xr.open_zarr(ObjectStore(from_url(s3))).labels.values.tolist() == [7] * 8


def test_only_a_url_travels_to_who_writes(s3):
    target = storing._Target(s3, "labels", s3, b"{}")
    assert "marker" not in repr(target.__reduce_ex__(5))
