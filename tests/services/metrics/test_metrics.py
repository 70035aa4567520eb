"""The files of the page, and a service that cannot read them."""

import re
from http import HTTPStatus
from pathlib import Path

import pytest

from netd.services import metrics
from netd.services.metrics import http
from tests.services.metrics.answers import metrics_service

PAGE = Path(metrics.__file__).parent / "page"


def test_every_file_of_the_page_has_a_type_and_asks_for_nothing_from_elsewhere() -> None:
    files = sorted(PAGE.iterdir())
    assert {file.name for file in files} >= {"index.html", "page.js", "page.css", "uplot.js", "uplot.LICENSE"}
    for file in files:
        assert file.suffix in http.MEDIA_TYPES, file
        text = file.read_text()
        if not file.name.startswith("uplot."):
            assert len(text.splitlines()) <= 400
            assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|\bstyle=|<script>|innerHTML", text), file
    html = (PAGE / "index.html").read_text()
    for name in re.findall(r'(?:src|href)="([^"]*)"', html):
        assert not name.startswith("/"), "it would not be found behind a proxy that puts a prefix before it"
        assert metrics_service()._site.get(f"/{name}").status == HTTPStatus.OK


def test_page_that_cannot_be_read_is_an_error_of_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_PAGE", Path("/proc/none"))
    metrics._files.cache_clear()
    with pytest.raises(ValueError, match="chroot"):
        metrics_service()
