"""The name of the time zone that is written for schedulers elsewhere, for all that TZ and /etc/localtime may say."""

from __future__ import annotations

import shutil
import zoneinfo
from pathlib import Path

import pytest

from dgmm.errors import JobError
from dgmm.jobs.schedules import zone
from dgmm.jobs.schedules.zone import local_zone

FOLDER = next((Path(each) for each in zoneinfo.TZPATH if Path(each, "Asia/Tokyo").is_file()), None)
needs_files = pytest.mark.skipif(FOLDER is None, reason="no files of time zones here (Debian: apt-get install tzdata)")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Asia/Tokyo", "Asia/Tokyo"),
        (":Asia/Tokyo", "Asia/Tokyo"),
        ("America/Argentina/Ushuaia", "America/Argentina/Ushuaia"),
        ("", "UTC"),
        (":", "UTC"),
    ],
)
def test_a_name_is_taken_as_it_is(given, name, monkeypatch):
    monkeypatch.setenv("TZ", given)
    assert local_zone() == name


@needs_files
@pytest.mark.parametrize("begin", ["", ":"])
@pytest.mark.parametrize("place", ["Asia/Tokyo", "posix/Asia/Tokyo", "a link", "a link to a folder"])
def test_the_path_of_a_zone_is_its_name(begin, place, tmp_path, monkeypatch):
    path = FOLDER / place
    if place.startswith("a link"):
        (tmp_path / "link").symlink_to(FOLDER / "Asia/Tokyo" if place == "a link" else FOLDER)
        path = tmp_path / "link" if place == "a link" else tmp_path / "link" / "Asia/Tokyo"
    monkeypatch.setenv("TZ", f"{begin}{path}")
    assert local_zone() == "Asia/Tokyo"


@needs_files
def test_without_a_variable_it_is_the_zone_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(zone, "_LINK", tmp_path / "localtime")
    monkeypatch.delenv("TZ", raising=False)
    assert local_zone() == "UTC"
    (tmp_path / "localtime").symlink_to(FOLDER / "Europe/Berlin")
    assert local_zone() == "Europe/Berlin"
    monkeypatch.setenv("TZ", f":{tmp_path / 'localtime'}")
    assert local_zone() == "Europe/Berlin"
    monkeypatch.delenv("TZ")
    (tmp_path / "localtime").unlink()
    shutil.copy(FOLDER / "Europe/Berlin", tmp_path / "localtime")
    with pytest.raises(JobError, match=r"localtime does not tell the name .*; set TZ to it for this command, as TZ="):
        local_zone()


@pytest.mark.parametrize("given", ["Nowhere/City", "CET-1CEST,M3.5.0,M10.5.0/3", "/etc/passwd", "/nowhere/Asia/Tokyo"])
def test_what_has_no_name_is_refused(given, monkeypatch):
    monkeypatch.setenv("TZ", given)
    with pytest.raises(JobError, match=r"the environment variable TZ, '.*', does not tell the name"):
        local_zone()
